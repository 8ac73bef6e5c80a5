"""One attempt at an export: all its records, as MLflow will hold them, and as they are read back."""

import json
import math
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tasks.core.errors import AssayError
from tasks.core.provenance.manifest import Manifest, package_versions
from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import ExportResult, Graph, LoadReport, Release, Weights
from tasks.core.reports.markdown import describe
from tasks.core.spec.export_spec import ResolvedSpec

if TYPE_CHECKING:
    from tasks.core.localisation.defects import Defect


@dataclass
class Attempt:
    """What is known of one export so far; a failed one stays incomplete."""

    spec: ResolvedSpec
    weights: Weights | None = None
    report: LoadReport | None = None
    manifest: Manifest | None = None
    graph: Graph | None = None
    evidence: Evidence | None = None
    defect: "Defect | None" = None
    """Of a wrong file, the node that makes it so."""
    error: AssayError | None = None
    changed: tuple[str, ...] = ()
    """Entries of the champion's manifest that are no longer true."""
    seconds: dict[str, float] = field(default_factory=dict)
    started_ms: int = field(default_factory=lambda: int(time.time() * 1000))
    """Since the epoch, as MLflow counts."""
    is_logged: bool = False
    """MLflow was told of it, successfully or not."""
    file: str | None = None
    """A file that somebody else made: it is proven, not released."""
    parent_run_id: str | None = None
    """Of a sweep: the MLflow run under which this one's stands."""

    @property
    def title(self) -> str:
        """The registered model name."""
        return self.spec.title

    @property
    def verdict(self) -> str:
        """The evidence's verdict, or `error`."""
        return self.evidence.verdict if self.evidence and not self.error else "error"

    @property
    def provenance(self) -> dict[str, str]:
        """What the file's own metadata says: hashes, versions and base names, nothing of this machine."""
        if self.weights is None or self.manifest is None:
            return {}
        facts = {
            "name": self.title,
            "model": model_name(self.spec),
            "weights": self.weights.origin.rpartition("/")[2] if self.weights.kind == "url" else self.weights.origin,
            "weights_sha256": self.manifest.weights,
            "fingerprint": self.manifest.fingerprint,
            **package_versions(),
        }
        return {f"assay.{key}": value for key, value in facts.items()}

    def description(self) -> str:
        """What MLflow shows beside the run and the version."""
        if self.weights and self.graph and self.evidence:
            return describe(self.spec, self.graph, self.evidence, weights=self.weights)
        return f"### {self.title}: not exported\n\n{self.error}"

    def tags(self) -> dict[str, str]:
        """Tags of the run, the logged model and the version."""
        tags = {"assay.verdict": self.verdict, **self.provenance}
        if self.weights and self.weights.file_sha256:
            tags["assay.weights_file_sha256"] = self.weights.file_sha256
        if self.graph:
            tags |= {
                "assay.onnx_sha256": self.graph.sha256,
                "assay.exporter": self.graph.exporter,
                "assay.opset": str(self.graph.opset),
                "assay.inputs": ", ".join(map(str, self.graph.inputs))[:4000],
                "assay.outputs": ", ".join(map(str, self.graph.outputs))[:4000],
            }
        if self.file:
            tags["assay.verified_file"] = Path(self.file).name
        if self.changed:
            tags["assay.changed"] = ", ".join(self.changed)[:4000]
        if self.error:
            tags["assay.error"] = f"{type(self.error).__name__}: {self.error}"[:4000]
        return tags

    def params(self) -> dict[str, str]:
        """Params of the run: what was asked for, and what came out."""
        spec = self.spec
        params = {
            "model": model_name(spec),
            "weights": self.weights.origin if self.weights else "",
            "opset": str(spec.opset),
            "exporter_asked": spec.exporter,
            "kwargs": json.dumps(spec.kwargs, default=str),
        }
        if self.graph:
            params |= {
                "exporter": self.graph.exporter,
                "exporter_reason": self.graph.exporter_reason,
                "inputs": ", ".join(map(str, self.graph.inputs)),
                "outputs": ", ".join(map(str, self.graph.outputs)),
                **{f"version.{name}": version for name, version in package_versions().items()},
            }
        return params

    def metrics(self) -> dict[str, float]:
        """Parity per output, step times, sizes; infinite values as MLflow can store them."""
        metrics = {f"seconds/{step}": seconds for step, seconds in self.seconds.items()}
        if self.graph:
            metrics |= {"size_bytes": float(self.graph.size_bytes), "num_nodes": float(self.graph.num_nodes)}
        if self.evidence:
            metrics["noise_ratio"] = self.evidence.noise_ratio
            for output in self.evidence.outputs:
                name = re.sub(r"[^\w\-. ]", "_", output.name)[:100]
                metrics |= {
                    f"{name}/noise_ratio": output.noise_ratio,
                    f"{name}/slice_ratio": output.slice_ratio,
                    f"{name}/max_abs_difference": output.max_abs_difference,
                    f"{name}/cosine": output.cosine,
                    f"{name}/movement": output.power.movement,
                }
                for key in ("top1_agreement", "top1_flip_margin", "top5_agreement", "mask_iou"):
                    if (value := getattr(output, key)) is not None:
                        metrics[f"{name}/{key}"] = value
                if output.detections is not None:
                    metrics[f"{name}/num_matched"] = float(output.detections.num_matched)
                    metrics[f"{name}/num_unmatched"] = float(output.detections.num_unmatched)
        return {key: value if math.isfinite(value) else 1e308 for key, value in metrics.items()}

    def to_json(self) -> str:
        """The records, as `PastExport.read` reads them."""
        records = {
            "spec": self.spec.model_dump(mode="json"),
            "weights": _dumped(self.weights),
            "report": _dumped(self.report),
            "manifest": _dumped(self.manifest),
            "graph": _dumped(self.graph),
            "evidence": _dumped(self.evidence),
            "error": str(self.error) if self.error else None,
            "seconds": self.seconds,
        }
        return json.dumps(records, indent=1)

    def result(self, release: Release | None) -> ExportResult:
        """The outcome as `--json` prints it."""
        graph, evidence = self.graph, self.evidence
        return ExportResult.model_validate(
            {
                "name": self.title,
                "file": self.file,
                "verdict": self.verdict,
                "reason": str(self.error) if self.error else self._reason(),
                "model_uri": release.model_uri if release else None,
                "version": release.version if release else None,
                "run_id": release.run_id if release else None,
                "run_url": (release.version_url or release.run_url) if release else "",
                "onnx_sha256": graph.sha256 if graph else None,
                "size_bytes": graph.size_bytes if graph else None,
                "num_nodes": graph.num_nodes if graph else None,
                "weights_sha256": self.manifest.weights if self.manifest else None,
                "exporter": graph.exporter if graph else None,
                "opset": graph.opset if graph else None,
                "inputs": graph.inputs if graph else (),
                "outputs": graph.outputs if graph else (),
                "parity": {output.name: output for output in evidence.outputs} if evidence else {},
                "dims": evidence.dims if evidence else (),
                "static": self.spec.static,
                "notes": (*graph.notes, *evidence.notes) if graph and evidence else (),
                "blame": evidence.blame if evidence else None,
                "seconds": dict(self.seconds),
                "error": {"type": type(self.error).__name__, "message": str(self.error)} if self.error else None,
            }
        )

    def _reason(self) -> str:
        if self.evidence is not None and self.evidence.reasons:
            return "; ".join(self.evidence.reasons)
        if self.file:
            return f"{Path(self.file).name} computes what the model computes"
        return f"changed: {', '.join(self.changed)}" if self.changed else "exported anew, nothing known to have changed"


@dataclass(frozen=True)
class PastExport:
    """A registered export, read back from MLflow."""

    manifest: Manifest
    graph: Graph
    evidence: Evidence
    release: Release

    @classmethod
    def read(cls, path: Path, release: Release) -> Self:
        """Read the records that `Attempt.to_json` wrote."""
        records = json.loads(path.read_text())
        return cls(
            manifest=Manifest.model_validate(records["manifest"]),
            graph=Graph.model_validate(records["graph"]),
            evidence=Evidence.model_validate(records["evidence"]),
            release=release,
        )

    def unchanged(self, spec: ResolvedSpec) -> ExportResult:
        """The outcome where nothing has to be done."""
        attempt = Attempt(spec, manifest=self.manifest, graph=self.graph, evidence=self.evidence)
        reason = f"nothing changed since version {self.release.version}, proven in run {self.release.run_id}"
        return attempt.result(self.release).model_copy(update={"unchanged": True, "reason": reason})


def model_name(spec: ResolvedSpec) -> str:
    """The model as text, without the folders of a file path."""
    return str(json.loads(spec.canonical_json())["model"])


def _dumped(record: object) -> object:
    return record.model_dump(mode="json") if record is not None else None  # type: ignore[attr-defined]  # all are records
