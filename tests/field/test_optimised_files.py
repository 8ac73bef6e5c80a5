"""Files that onnxsim, onnxslim or ONNX Runtime itself optimised are held against the module, weight by weight."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxsim
import onnxslim
import pytest
from onnx import numpy_helper

from tasks.core.accounting.account import Account
from tasks.core.onnx_files.reading import read_graph
from tasks.core.proof.coverage import account_for
from tasks.core.proof.plan import make_plan
from tasks.core.proof.validation import validate
from tasks.core.records.evidence import Evidence
from tasks.core.records.steps import Candidate
from tests.models.panel import PANEL, Entry, Subject, prepare

ENTRIES = {entry.name: entry for entry in PANEL} | {
    "squeezenet1_1": Entry("squeezenet1_1", "CNN", ("x=float32[batch,3,64,64]",), model="squeezenet1_1")
}
MODELS = {
    "UNet": "torchscript",
    "LstmTagger": "torchscript",
    "squeezenet1_1": "torchscript",
    "mtcnn_onet": "torchscript",
    "TextEncoder": "dynamo",
    "tiny_vit": "dynamo",
}
"""And the exporter that made the file."""


def _simplified(source: Path, target: Path) -> None:
    model, _ = onnxsim.simplify(str(source))
    onnx.save(model, target)


def _slimmed(source: Path, target: Path) -> None:
    onnx.save(onnxslim.slim(str(source)), target)


def _optimised_by_runtime(source: Path, target: Path) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


TOOLS: dict[str, Callable[[Path, Path], None]] = {
    "onnxsim": _simplified,
    "onnxslim": _slimmed,
    "runtime": _optimised_by_runtime,
}


def _files(subject: Subject, folder: Path) -> Iterator[tuple[str, Path]]:
    for name, optimise in TOOLS.items():
        path = folder / f"{name}.onnx"
        optimise(subject.graph.path, path)
        yield name, path


def _prove(subject: Subject, path: Path) -> Evidence:
    return validate(Candidate(read_graph(path)), subject.reference, threads=1, keep=True).evidence


def _mutants(path: Path) -> Iterator[Path]:
    """The first matrix off by 1 %; the first two rows of the last one exchanged."""
    matrices = [
        tensor.name
        for tensor in onnx.load(path).graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) >= 2 and min(tensor.dims[:2]) > 1
    ]
    for name, change in (
        (matrices[0], lambda w: w * np.float32(1.01)),
        (matrices[-1], lambda w: w[_exchanged(len(w))]),
    ):
        proto = onnx.load(path)
        tensor = next(tensor for tensor in proto.graph.initializer if tensor.name == name)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(change(numpy_helper.to_array(tensor))), name))
        onnx.save(proto, path.with_name("mutant.onnx"))
        yield path.with_name("mutant.onnx")


def _exchanged(num_rows: int) -> list[int]:
    return [1, 0, *range(2, num_rows)]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_optimised_files_pass_and_mutants_of_them_fail(name: str, tmp_path: Path) -> None:
    """Three files a model, each with every weight found; six mutants a model."""
    if ENTRIES[name].missing:
        pytest.skip(ENTRIES[name].missing)
    subject = prepare(replace(ENTRIES[name], exporter=MODELS[name]), tmp_path)
    for tool, path in _files(subject, tmp_path):
        evidence = _prove(subject, path)
        assert (tool, evidence.verdict, evidence.reasons) == (tool, "pass", ())
        assert evidence.coverage is not None
        assert (tool, evidence.coverage.missing, evidence.coverage.unexplained) == (tool, (), ())
        assert [_prove(subject, mutant).verdict for mutant in _mutants(path)] == ["fail", "fail"], tool


def test_what_optimisers_make_of_weights_is_recognised(tmp_path: Path) -> None:
    """Fused operators of ONNX Runtime's own, constants with other names and folded ones, without any proof."""
    subject = prepare(replace(ENTRIES["UNet"], exporter="torchscript"), tmp_path)
    fused: set[str] = set()
    for tool, path in _files(subject, tmp_path):
        found = account_for(make_plan(Candidate(read_graph(path)), subject.reference), subject.reference)
        assert isinstance(found, Account)
        lost = [weight.name for weight in found.weights if weight.found is None]
        assert (tool, lost, found.unexplained) == (tool, [], ())
        fused |= {node.op_type for node in onnx.load(path).graph.node if node.domain == "com.microsoft"}
    assert "FusedConv" in fused
