"""The records that pass between the steps: paths, hashes and figures, never tensors."""

from pathlib import Path
from typing import Literal

from tasks.core.spec import Record

Verdict = Literal["pass", "fail", "inconclusive", "error"]


class Weights(Record):
    """Where the weights come from and what they are."""

    kind: Literal["torchvision", "file", "url", "mlflow", "random", "as-built", "state_dict"]
    origin: str
    """What was asked for, without secrets: enum, base name, URL without query, URI, `random:0`."""
    path: Path | None = None
    """The verified local file; None where there is none (random, as-built, in memory)."""
    size_bytes: int | None = None
    file_sha256: str | None = None
    tensors_sha256: str | None = None
    """Hash of names, dtypes, shapes and values; None until a module exists (random, as-built)."""
    seed: int | None = None
    """Of random weights."""


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
    model_class: str
    state_sha256: str | None = None
    """Hash of the built module's state, where no weights file has one (random, as-built)."""
    source_files: dict[str, str] = {}
    """SHA-256 of each source file outside installed packages that building the model imported."""


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
    """External data, where the weights exceed 2 GB; its hash is in the file's metadata."""
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    opset: int
    num_nodes: int
    exporter: Literal["dynamo", "torchscript"]
    exporter_reason: str
    """Why this exporter: asked for, first choice, or what the first one did wrong."""
    labels: dict[str, str] = {}
    """Label to parameter name, of parameters that `input_names` labels and the graph holds."""
    beyond: dict[str, tuple[int, ...]] = {}
    """Sizes of dynamic dims that an exporter's analysis made suspicious: they are proven, too."""
    doubts: tuple[str, ...] = ()
    """Why no probe can prove this file."""
    notes: tuple[str, ...] = ()
    """What a reader of the file should know, e.g. two dynamic dims that must be equal."""
    seconds: float = 0.0
    """Spent by the exporter, falling back included."""


class FamilyParity(Record):
    """How one output compares over one family of probes, pooled over its sizes and seeds."""

    family: str
    noise_ratio: float
    """relative error of ONNX Runtime / max(relative error of torch float32, eps32)."""
    slice_ratio: float
    """The worst noise ratio of any slice along a non-batch axis."""
    worst_slice: str = ""
    """Axis and index of that slice."""
    relative_error: float
    """rms(onnx - float64) / rms(float64)."""
    torch_relative_error: float
    """rms(torch32 - float64) / rms(float64), runs with perturbed weights included."""
    max_abs_difference: float
    """max |onnx - torch32| over finite elements."""
    max_rel_difference: float
    """max |onnx - torch32| / max(|torch32|, rms(torch32)) over finite elements."""
    cosine: float
    """Cosine between onnx and torch32, in float64."""
    num_elements: int
    num_probes: int
    mismatched_share: float = 0.0
    """Integer and bool outputs: share of elements that differ from torch32 without excuse."""
    unstable_share: float = 0.0
    """Integer and bool outputs: share of elements in which torch32 and float64 differ."""


class Power(Record):
    """Could the probes have seen a difference? Judged over normal, ranged and sample families."""

    movement: float
    """rms of the change of the output between two inputs / noise of torch float32."""
    finite: bool
    num_elements: int


class OutputEvidence(Record):
    """All that was measured on one output."""

    name: str
    noise_ratio: float
    """The worst family's."""
    slice_ratio: float
    max_abs_difference: float
    cosine: float
    families: tuple[FamilyParity, ...]
    power: Power
    top1_agreement: float | None = None
    """Share of sample rows in which ONNX Runtime and PyTorch agree on the largest of the last axis."""
    top1_flip_margin: float | None = None
    """Largest float64 margin, relative to the output's rms, at which they disagreed."""


class DimProof(Record):
    """A dynamic dimension that was asked for, and the sizes at which the file was right."""

    name: str
    input: str
    axis: int
    in_file: bool
    """The file declares this axis as dynamic."""
    sizes: tuple[int, ...]
    refused_by_model: tuple[int, ...] = ()
    """Sizes at which the PyTorch module itself raises."""


class ProbeRecord(Record):
    """One probe that was run."""

    family: str
    seed: int
    sizes: dict[str, int]
    """Size of each dynamic dimension."""
    levels: tuple[str, ...]
    """ONNX Runtime optimisation levels: off, all."""


class Evidence(Record):
    """What validation measured, and the verdict that follows from it."""

    verdict: Literal["pass", "fail", "inconclusive"]
    reasons: tuple[str, ...]
    """One sentence each: why not `pass`; empty on `pass`."""
    outputs: tuple[OutputEvidence, ...]
    dims: tuple[DimProof, ...] = ()
    probes: tuple[ProbeRecord, ...] = ()
    skipped: tuple[str, ...] = ()
    """Probes left out because proving took too long."""
    notes: tuple[str, ...] = ()
    noise_limit: float
    slice_limit: float
    movement_limit: float
    random_weights: bool = False

    @property
    def noise_ratio(self) -> float:
        """The worst noise ratio of any output; 0 where nothing was compared."""
        return max((output.noise_ratio for output in self.outputs), default=0.0)


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
    changed: tuple[str, ...] = ()
    """Entries of the manifest that differ from the champion's before."""


class ErrorRecord(Record):
    """A deliberate error, as the JSON shows it."""

    type: str
    message: str


class ExportResult(Record):
    """The outcome of one export, as `--json` prints it."""

    name: str
    verdict: Verdict
    unchanged: bool = False
    reason: str = ""
    model_uri: str | None = None
    version: str | None = None
    run_id: str | None = None
    run_url: str = ""
    onnx_path: Path | None = None
    onnx_sha256: str | None = None
    size_bytes: int | None = None
    weights_sha256: str | None = None
    exporter: str | None = None
    opset: int | None = None
    inputs: tuple[TensorType, ...] = ()
    outputs: tuple[TensorType, ...] = ()
    parity: dict[str, OutputEvidence] = {}
    dims: tuple[DimProof, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = {}
    """Per step."""
    error: ErrorRecord | None = None
