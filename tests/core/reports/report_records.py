"""Records of exports that passed, failed or proved too little, made by hand; and their reports."""

import math
from pathlib import Path
from typing import Any

from tasks.core.provenance.attempts import Attempt, PastExport
from tasks.core.records.evidence import (
    Blame,
    BlockPower,
    DimProof,
    Evidence,
    FamilyParity,
    OutputEvidence,
    Power,
    ProbeRecord,
    Values,
)
from tasks.core.records.latency import Latency, Timing
from tasks.core.records.steps import Graph, LoadReport, Manifest, Release, TensorType, Weights
from tasks.core.reports.export_page import html_report
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve


def make_family(family: str = "normal", **figures: Any) -> FamilyParity:
    """One family's figures, sound ones but for those given."""
    sound: dict[str, Any] = {
        "noise_ratio": 1.1, "slice_ratio": 2.5, "worst_slice": "axis 1, index 4", "relative_error": 2.2e-7,
        "torch_relative_error": 2e-7, "max_abs_difference": 3e-6, "max_rel_difference": 1e-6, "cosine": 1.0,
        "num_elements": 1200, "num_probes": 4,
    }  # fmt: skip
    return FamilyParity(family=family, **{**sound, **figures})


def make_output(name: str = "logits", *families: FamilyParity, **figures: Any) -> OutputEvidence:
    """One output's evidence, sound but for the figures given."""
    families = families or (make_family(), make_family("zeros", noise_ratio=0.9, relative_error=1.1e-7))
    power = Power(movement=51234.0, families={"normal": 51234.0}, finite=True, num_elements=1200, zero_share=0.25)
    sound: dict[str, Any] = {
        "noise_ratio": max(f.noise_ratio for f in families), "slice_ratio": 2.5, "max_abs_difference": 3e-6,
        "cosine": 1.0, "power": power,
    }  # fmt: skip
    return OutputEvidence(name=name, families=families, **{**sound, **figures})


def make_evidence(*outputs: OutputEvidence, **facts: Any) -> Evidence:
    """The evidence of a proof that passed, but for the facts given."""
    sound: dict[str, Any] = {
        "verdict": "pass", "reasons": (), "noise_limit": 8.0, "slice_limit": 16.0, "movement_limit": 100.0,
        "dims": (DimProof(name="batch", input="image", axis=0, in_file=True, sizes=(1, 2, 5), refused_by_model=(9,)),),
        "probes": (ProbeRecord(family="normal", seed=7, sizes={"batch": 2}, levels=("off", "all")),),
    }  # fmt: skip
    return Evidence(outputs=outputs or (make_output(),), **{**sound, **facts})


def make_graph(**dtypes: str) -> Graph:
    """A graph with outputs of these dtypes."""
    outputs = dtypes or {"logits": "float32"}
    return Graph(
        path=Path("digits.onnx"), sha256="ab" * 32, size_bytes=345678, opset=20, num_nodes=12,
        inputs=(TensorType(name="image", dtype="float32", dims=("batch", 1, 8, 8)),),
        outputs=tuple(TensorType(name=n, dtype=d, dims=("batch", 10)) for n, d in outputs.items()),
        exporter="dynamo", exporter_reason="first choice of auto", notes=("a note on the file",),
    )  # fmt: skip


def make_latency(onnx_ms: float, torch_ms: float, **facts: Any) -> Latency:
    """Two timings with intervals of a tenth, but for the facts given."""
    onnx, eager = (Timing(median_ms=ms, low_ms=0.95 * ms, high_ms=1.05 * ms, num_runs=40) for ms in (onnx_ms, torch_ms))
    usual: dict[str, Any] = {"batch_size": 1, "shapes": {"image": (1, 1, 8, 8)}, "threads": 2, "cpu": "a CPU <1>"}
    return Latency(onnx=onnx, torch=eager, **{**usual, **facts})


def make_manifest(**facts: Any) -> Manifest:
    """What an export was made from, but for the facts given."""
    usual: dict[str, Any] = {
        "spec": "{}", "weights": "ef" * 32, "weights_file": None, "sample": None, "sources": {}, "assay": "",
        "versions": {"torch": "2.14.0"},
    }  # fmt: skip
    return Manifest(**{**usual, **facts})


def make_attempt(evidence: Evidence, *, graph: Graph | None = None, **records: Any) -> Attempt:
    """An attempt with this evidence, whose champion was made with an older PyTorch."""
    graph = graph or make_graph()
    before = make_manifest(versions={"torch": "2.13.0"})
    champion = PastExport(manifest=before, graph=graph, evidence=evidence, release=Release(run_id="0"))
    usual: dict[str, Any] = {
        "spec": resolve(ExportSpec(model="digits")),
        "before": champion,
        "weights": Weights(kind="file", origin="digits.pth", file_sha256="cd" * 32, tensors_sha256="ef" * 32),
        "report": LoadReport(num_loaded=8, num_parameters=34826, model_class="digits.DigitsCNN", renamed=("m.* -> *",)),
        "manifest": make_manifest(),
        "seconds": {"export_onnx": 3.25},
    }  # fmt: skip
    return Attempt(graph=graph, evidence=evidence, **{**usual, **records})


def make_report(evidence: Evidence, **records: Any) -> str:
    """The page of this evidence."""
    return html_report(make_attempt(evidence, **records))


BLAME = Blame(
    node="node_conv2d_1", op_type="Conv", module_path="features.3", module_class="torch.nn.Conv2d",
    source="digits/model.py:21", kind="weights", parameter="features.3.weight", own_ratio=12345.0,
    found=Values(dtype="float32", shape=(2, 8), rms=0.75, worst=(0.5, math.nan)),
    expected=Values(dtype="float32", shape=(2, 8), rms=0.25, worst=(0.125, -3e-9)),
    sentence="The weights of features.3 differ from the model's.",
)  # fmt: skip
FAIL = make_evidence(
    make_output("logits", make_family(noise_ratio=54321.0, relative_error=0.011), make_family("zeros")),
    verdict="fail",
    reasons=("logits is off by 5.43e+04 times the noise of float32 (normal; limit 8)",),
    blame=BLAME,
)
INCONCLUSIVE = make_evidence(
    make_output(
        power=Power(movement=3.0, families={"normal": 3.0}, finite=True, num_elements=9, saturated_share=0.999)
    ),
    verdict="inconclusive",
    reasons=("logits moves with the input by only 3 times the noise",),
    blocks=(
        BlockPower(path="layer1.0", source="resnet.py:102", movement=40000.0),
        BlockPower(path="layer1.1", source="resnet.py:102", movement=0.02),
    ),
    skipped=("batch 64: 90 s",),
)
EXTREMES = make_evidence(
    make_output(
        "logits",
        make_family("zeros", noise_ratio=0.0, relative_error=0.0, torch_relative_error=0.0),
        make_family("wide", noise_ratio=math.nan, relative_error=math.nan, cosine=math.nan),
        make_family("range", noise_ratio=math.inf, relative_error=math.inf, max_abs_difference=math.inf),
        make_family("sample", torch_relative_error=math.inf, noise_ratio=0.0),
        noise_ratio=math.nan,
    ),
    verdict="fail",
    reasons=("logits is off by nan",),
)
EVERY = {"pass": make_evidence(), "fail": FAIL, "inconclusive": INCONCLUSIVE, "extremes": EXTREMES}
