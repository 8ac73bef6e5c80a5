"""One attempt at an export or a proof: what its steps gave, as it will be recorded and as it is read back."""

import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from tasks.core.errors import as_assay_error
from tasks.core.provenance.manifest import changes, package_versions
from tasks.core.records.comparison import Change
from tasks.core.records.evidence import Evidence
from tasks.core.records.latency import Latency
from tasks.core.records.preprocessing import Preprocessing
from tasks.core.records.record import Record
from tasks.core.records.steps import ErrorRecord, ExportResult, Graph, LoadReport, Manifest, Release, Weights
from tasks.core.spec.export_spec import ResolvedSpec


class PastExport(Record):
    """A registered export, read back from MLflow."""

    manifest: Manifest
    graph: Graph
    evidence: Evidence
    release: Release
    weights: Weights | None = None
    damage: str = ""
    """What is wrong with what is stored of it, in a few words; empty: nothing that was seen."""
    latency: Latency | None = None

    def unchanged(self, spec: ResolvedSpec) -> ExportResult:
        """The outcome where nothing has to be done."""
        attempt = Attempt(spec, manifest=self.manifest, graph=self.graph, evidence=self.evidence, latency=self.latency)
        reason = f"nothing changed since version {self.release.version}, proven in run {self.release.run_id}"
        return attempt.result(self.release).model_copy(update={"unchanged": True, "reason": reason})


@dataclass
class Attempt:
    """What is known of one attempt so far; a failed one stays incomplete."""

    spec: ResolvedSpec
    before: PastExport | None = None
    """The newest proven export when this began."""
    accepts_contract: bool = False
    """The champion may move to other inputs or outputs."""
    file: str | None = None
    """A file that somebody else made: it is proven, not released."""
    parent_run_id: str | None = None
    """Of a sweep: the MLflow run under which this one's stands."""
    weights: Weights | None = None
    report: LoadReport | None = None
    manifest: Manifest | None = None
    graph: Graph | None = None
    evidence: Evidence | None = None
    latency: Latency | None = None
    error: ErrorRecord | None = None
    """What ended it before a verdict."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Per step."""
    started_ms: int = field(default_factory=lambda: int(time.time() * 1000))
    """Since the epoch, as MLflow counts."""

    @property
    def title(self) -> str:
        """The registered model name."""
        return self.spec.title

    @property
    def verdict(self) -> str:
        """The evidence's verdict, or `error`."""
        return self.evidence.verdict if self.evidence and not self.error else "error"

    @property
    def changes(self) -> tuple[Change, ...]:
        """Entries of the manifest before that are no longer true."""
        return changes(self.before.manifest, self.manifest) if self.before and self.manifest else ()

    @property
    def changed(self) -> tuple[str, ...]:
        """Their names, and what became of the stored file before."""
        names = tuple(change.name for change in self.changes)
        if self.before and self.before.damage:
            return (*names, f"the stored file of version {self.before.release.version} ({self.before.damage})")
        return names

    @property
    def provenance(self) -> dict[str, str]:
        """What the file's own metadata says; empty before there are weights and a module."""
        if not self.weights or not self.manifest:
            return {}
        said = self.report.preprocessing if self.report else Preprocessing()
        return provenance(self.spec, self.weights, self.manifest, preprocessing=said)

    def of_file(self, file: str) -> Self:
        """An attempt to prove one file of somebody else's, with all that is known of the model."""
        return replace(self, file=file, seconds={**self.seconds}, started_ms=int(time.time() * 1000))

    def ended_by(self, error: BaseException) -> Self:
        """The attempt, ended by an error of any kind."""
        known = as_assay_error(error, self.title)
        return replace(self, error=ErrorRecord(type=type(known).__name__, message=str(known)))

    def to_json(self) -> str:
        """The records; `find_proven` reads a past export from them."""
        names = ("spec", "weights", "report", "manifest", "graph", "evidence", "latency")
        known = {name: getattr(self, name) for name in names}
        records = {name: record and record.model_dump(mode="json") for name, record in known.items()}
        error = self.error and self.error.message
        return json.dumps({**records, "error": error, "seconds": self.seconds}, indent=1)

    def result(self, release: Release) -> ExportResult:
        """The outcome, with what MLflow holds of it."""
        return ExportResult(
            name=self.title,
            file=self.file,
            verdict=self.verdict,
            reason=self._reason(),
            graph=self.graph,
            evidence=self.evidence,
            latency=self.latency,
            release=release,
            weights_sha256=self.manifest.weights if self.manifest else None,
            onnx_path=Path(self.file).resolve() if self.file else None,
            static=self.spec.static,
            seconds={**self.seconds},
            error=self.error,
        )

    def _reason(self) -> str:
        if self.error is not None:
            return self.error.message
        if self.evidence is not None and self.evidence.reasons:
            return "; ".join(self.evidence.reasons)
        if self.file:
            return f"{Path(self.file).name} computes what the model computes"
        return f"changed: {', '.join(self.changed)}" if self.changed else "exported anew, nothing known to have changed"


def provenance(
    spec: ResolvedSpec, weights: Weights, manifest: Manifest, *, preprocessing: Preprocessing
) -> dict[str, str]:
    """What a file's own metadata says: hashes, versions and base names, nothing of this machine.

    Args:
        spec: what was asked for.
        weights: where they come from.
        manifest: what decides the file.
        preprocessing: what the model was trained to see and to tell.
    """
    facts = {
        "name": spec.title,
        "model": model_name(spec),
        "weights": weights.origin.rpartition("/")[2] if weights.kind == "url" else weights.origin,
        "weights_sha256": manifest.weights,
        "fingerprint": manifest.fingerprint,
        **package_versions(spec),
        **preprocessing.facts,
    }
    return {f"assay.{key}": value for key, value in facts.items()}


def model_name(spec: ResolvedSpec) -> str:
    """The model as text, without the folders of a file path."""
    return str(json.loads(spec.canonical_json())["model"])
