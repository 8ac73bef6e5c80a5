"""The records that pass between the steps: paths, hashes and figures, never tensors."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

from tasks.core.arrays import Array, worst
from tasks.core.records.evidence import Evidence, OutputEvidence
from tasks.core.records.latency import Latency
from tasks.core.records.preprocessing import Preprocessing
from tasks.core.records.record import Record
from tasks.core.records.variants import VariantEvidence
from tasks.core.sentences import sentence

Verdict = Literal["pass", "fail", "inconclusive", "error"]


class Weights(Record):
    """Where the weights come from and what they are."""

    kind: str
    """`file`, `url`, `mlflow`, `random`, `as-built`, `state_dict`, or the family that names them."""
    origin: str
    """What was asked for, without secrets: enum, base name, URL without query, URI, `random:0`; of several sets of
    weights in a file the one that was taken, as `FILE#LABEL`."""
    path: Path | None = None
    """The verified local file, or index of shards; None where there is none (random, as-built, in memory)."""
    part: str = ""
    """Label of the set of weights that was asked for; empty: the one that fits."""
    named: str = ""
    """What the model's family calls this very file, e.g. `ResNet18_Weights.IMAGENET1K_V1`."""
    size_bytes: int | None = None
    file_sha256: str | None = None
    tensors_sha256: str | None = None
    """Hash of names, dtypes, shapes and values; None until a module exists (random, as-built, one of several sets)."""
    seed: int | None = None

    def settled(self, report: "LoadReport") -> Self:
        """The record, with what only the built module could tell: which of several sets of weights was taken."""
        if self.tensors_sha256 or not (self.path or self.kind == "state_dict"):
            return self
        origin = f"{self.origin.removesuffix(f'#{self.part}')}#{report.chosen}" if report.chosen else self.origin
        return self.model_copy(update={"origin": origin, "tensors_sha256": report.state_sha256})


class LoadReport(Record):
    """Every key that met the module, and what became of it."""

    num_loaded: int
    num_parameters: int
    """Elements over all parameters."""
    missing: tuple[str, ...] = ()
    """Keys of the module that the weights lack, each allowed by --ignore-missing."""
    unexpected: tuple[str, ...] = ()
    """Keys of the weights that the module lacks, each allowed by --ignore-unexpected."""
    renamed: tuple[str, ...] = ()
    """What was done to the keys, e.g. `module.* -> *`."""
    nesting: tuple[str, ...] = ()
    """Keys under which the state_dict lay in the file."""
    chosen: str = ""
    """Of several sets of weights, the label of the one that was taken."""
    model_class: str
    state_sha256: str | None = None
    """Hash of the tensors that were loaded, or else of the built module's state, where `Weights` has none."""
    source_files: dict[str, str] = {}
    """SHA-256 of each source file outside installed packages that building the model imported."""
    notes: tuple[str, ...] = ()
    """What was done to the module besides."""
    preprocessing: Preprocessing = Preprocessing()
    """What the model was trained to see and to tell, where its own files say it."""


class Manifest(Record):
    """What decides an exported file."""

    spec: str
    """The spec as canonical JSON."""
    weights: str
    """SHA-256 of the weight tensors."""
    weights_file: str | None
    """SHA-256 of the file that held them: while it is equal, so are the tensors."""
    sample: str | None
    """SHA-256 of the sample file."""
    sources: dict[str, str]
    """SHA-256 by path, of the source files that building the model imported."""
    assay: str
    """SHA-256 of Assay's own code."""
    versions: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """One hash over all that decides the file's content, wherever the files lie."""
        content = self.model_dump(exclude={"weights_file"})
        content["sources"] = sorted((Path(path).name, sha256) for path, sha256 in self.sources.items())
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class TensorType(Record):
    """One input or output of a graph."""

    name: str
    dtype: str
    """numpy's name: float32, int64, bool..."""
    dims: tuple[int | str, ...]
    """A number, or the name of a dynamic dimension."""

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.dims))}]"


class Graph(Record):
    """An exported ONNX file."""

    path: Path
    sha256: str
    size_bytes: int
    """Of the file and its sidecar, if any."""
    sidecar: Path | None = None
    """External data, where the weights exceed 2 GB."""
    sidecar_sha256: str | None = None
    """Is in the file's metadata, too."""
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    opset: int
    num_nodes: int
    exporter: Literal["dynamo", "torchscript", "other"]
    exporter_reason: str
    """Why this exporter: asked for, first choice, or what the first one did wrong."""
    beyond: dict[str, tuple[int, ...]] = {}
    """Sizes of dynamic dims that an exporter's analysis made suspicious: they are proven, too."""
    branches: tuple[str, ...] = ()
    """Lines of the module's code, `file.py:LINE`, at which an input's values decided what its exporter traced."""
    notes: tuple[str, ...] = ()
    """What a reader of the file should know, e.g. two dynamic dims that must be equal."""
    remedy: str = ""
    """Of a wrong file, what to declare so that an exporter gives a right one; empty: nothing is known to help."""
    seconds: float = 0.0
    """Spent by the exporter, falling back included."""


ProbeKey = tuple[object, ...]
"""Family, seed and sizes of a probe."""
FileAnswers = Mapping[tuple[str, ProbeKey], list[Array]]
"""By optimisation level and key of a probe: a file's outputs, in its own order."""


@dataclass(frozen=True)
class Candidate:
    """An ONNX file, how its inputs and outputs correspond to the module's, and what it answered so far."""

    graph: Graph
    answers: FileAnswers = field(default_factory=dict, repr=False)
    """Where it was run before."""
    file_inputs: Mapping[str, str] = field(default_factory=dict)
    """Names of inputs in the file by the module's, where they differ."""
    output_order: tuple[int, ...] = ()
    """Which of the file's outputs is the module's first, second…; empty: they come in the module's order."""
    failures: tuple[str, ...] = ()
    """What is wrong with the file already, one sentence each."""
    notes: tuple[str, ...] = ()
    """What a reader of the proof should know, e.g. how inputs were matched."""


class Release(Record):
    """What MLflow holds of one attempt."""

    run_id: str
    run_url: str = ""
    model_id: str | None = None
    model_uri: str | None = None
    """`models:/NAME/VERSION`, or the logged model's where no version was made."""
    version: str | None = None
    version_url: str = ""
    alias: str | None = None
    """`champion`, or `proven` where it has random weights, or the champion other inputs or outputs."""
    contract: str = ""
    """Why the champion that there is did not move; empty: it did."""
    changed: tuple[str, ...] = ()
    """Entries of the manifest that differ from those of the newest proven version before."""

    @property
    def page(self) -> str:
        """The version's page in the UI, else the run's."""
        return self.version_url or self.run_url


class ErrorRecord(Record):
    """A deliberate error, as the JSON shows it."""

    type: str
    message: str


class ExportResult(Record):
    """The outcome of one attempt: what was made, what was measured, what MLflow holds of it."""

    name: str
    file: str | None = None
    """The file that was to be verified, as it was named; None where one was exported."""
    verdict: Verdict
    unchanged: bool = False
    reason: str = ""
    graph: Graph | None = None
    evidence: Evidence | None = None
    release: Release | None = None
    weights_sha256: str | None = None
    onnx_path: Path | None = None
    """Where the file lies now, if it is a file of this machine."""
    static: dict[str, str] = {}
    """What is not dynamic though one might expect it, and why."""
    latency: Latency | None = None
    """How long a run takes, as it was measured when the version was made; None: that was left out."""
    seconds: dict[str, float] = {}
    """Per step."""
    error: ErrorRecord | None = None
    variant: VariantEvidence | None = None
    """Of a variant of a proven file: what it loses."""

    @property
    def complaint(self) -> str:
        """What is wrong, in one sentence; empty for a proven file."""
        if self.error is not None:
            return self.error.message
        return "" if self.verdict == "pass" else sentence(f"{self.name} is not proven ({self.verdict}): {self.reason}.")

    @property
    def parity(self) -> dict[str, OutputEvidence]:
        """What was measured, by output."""
        return {output.name: output for output in self.evidence.outputs} if self.evidence else {}

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the file and of its proof should know."""
        contract = (self.release.contract,) if self.release and self.release.contract else ()
        return (*self.graph.notes, *self.evidence.notes, *contract) if self.graph and self.evidence else ()

    def worst(self, figure: str) -> float | None:
        """The largest `noise_ratio` or `slice_ratio` of any output, NaN above all; None where none was taken."""
        compared = [getattr(output, figure) for output in self.parity.values() if output.is_compared]
        return worst(compared) if compared else None
