"""Models with one peculiarity each get the right verdict, and a sentence that explains it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from tasks.core.errors import ExportError
from tasks.core.evidence import Evidence
from tasks.core.exporting import export
from tasks.core.inputs import choose_inputs
from tasks.core.reference import Reference
from tasks.core.spec import ExportSpec
from tasks.core.validation import validate
from tasks.core.trial import Trial
from tests.core.tiny_models import (
    BoxesAndScores,
    BranchesOnBatch,
    BranchesOnValues,
    Classifier,
    Constant,
    Counting,
    FreezesBatch,
    IntegerOut,
    MaskedEncoder,
    Nested,
    NotANumber,
    OneElement,
    OtherWhenTraced,
    Random,
    Zero,
)

IMAGE = ("image=float32[batch,3,8,8]",)


def _prove(
    model: nn.Module,
    inputs: tuple[str, ...],
    folder: Path,
    *,
    mutate: Callable[[onnx.ModelProto], None] | None = None,
    constant_outputs: tuple[str, ...] = (),
    **fields: Any,
) -> Evidence:
    """Export a live module, break the file if asked to, and validate it."""
    spec = ExportSpec(model=model, name="tiny", inputs=inputs, **fields)
    chosen = choose_inputs(spec, model.eval())
    reference = Reference(model, chosen)
    graph, _ = export(spec, model, chosen, reference=reference, provenance={}, folder=folder)
    if mutate is not None:
        proto = onnx.load(graph.path)
        mutate(proto)
        onnx.save(proto, graph.path)
    return validate(Trial(graph, chosen, reference, constant_outputs))


def _initializer(proto: onnx.ModelProto, name: str) -> tuple[onnx.TensorProto, np.ndarray]:
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    return tensor, onnx.numpy_helper.to_array(tensor).copy()


def _scale(name: str, factor: float) -> Callable[[onnx.ModelProto], None]:
    def mutate(proto: onnx.ModelProto) -> None:
        tensor, values = _initializer(proto, name)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(factor), name))

    return mutate


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_true_export_passes(exporter: str, tmp_path: Path) -> None:
    """Both exporters' files of a plain classifier pass, at every size, with power to spare."""
    evidence = _prove(Classifier(), IMAGE, tmp_path, exporter=exporter)
    assert evidence.verdict == "pass", evidence.reasons
    assert evidence.noise_ratio < 4
    assert {r.sizes["batch"] for r in evidence.probes} == {1, 2, 3, 5}
    assert {r.family for r in evidence.probes} == {"normal", "wide", "zeros"}
    assert {level for r in evidence.probes for level in r.levels} == {"off", "all"}
    assert evidence.outputs[0].power.movement > 10_000


@pytest.mark.parametrize(
    ("name", "factor"), [("head.weight", 1.01), ("head.weight", 1.0001), ("head.bias", 1.01), ("conv.weight", 0.99)]
)
def test_scaled_weights_fail(name: str, factor: float, tmp_path: Path) -> None:
    """Weights off by 1 % or by one in ten thousand fail, where allclose(1e-3, 1e-5) is content."""

    def mutate(proto: onnx.ModelProto) -> None:
        names = [t.name for t in proto.graph.initializer]
        target = name if name in names else next(n for n in names if n.startswith("conv") or "weight" in n)
        _scale(target, factor)(proto)

    evidence = _prove(Classifier(), IMAGE, tmp_path, mutate=mutate)
    assert evidence.verdict == "fail"
    assert "times the noise of float32" in evidence.reasons[0]


def test_weights_rounded_to_half_precision_fail(tmp_path: Path) -> None:
    """A file whose head went through float16 is not the model."""

    def mutate(proto: onnx.ModelProto) -> None:
        tensor, values = _initializer(proto, "head.weight")
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16).astype(np.float32), "head.weight"))

    assert _prove(Classifier(), IMAGE, tmp_path, mutate=mutate).verdict == "fail"


def test_two_classes_swapped_fail(tmp_path: Path) -> None:
    """Rows of the head in another order fail."""

    def mutate(proto: onnx.ModelProto) -> None:
        tensor, values = _initializer(proto, "head.weight")
        order = [1, 0, 2, 3, 4]
        values = values[:, order] if values.shape[1] == 5 else values[order]
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, "head.weight"))

    assert _prove(Classifier(), IMAGE, tmp_path, mutate=mutate).verdict == "fail"


def test_outputs_swapped_in_the_file_fail(tmp_path: Path) -> None:
    """Two outputs of equal shape under each other's name fail."""

    def mutate(proto: onnx.ModelProto) -> None:
        first, second = proto.graph.output[0].name, proto.graph.output[1].name
        swap = {first: second, second: first}
        for node in proto.graph.node:
            for names in (node.input, node.output):
                names[:] = [swap.get(n, n) for n in names]

    evidence = _prove(Nested(), ("x=float32[batch,4]", "mask=bool[batch,1]"), tmp_path, mutate=mutate)
    assert evidence.verdict == "fail"


def test_nested_outputs_keep_their_names_and_order(tmp_path: Path) -> None:
    """A dict with b before a, a tuple and a dataclass come out under their own names and pass."""
    evidence = _prove(Nested(), ("x=float32[batch,4]", "mask=bool[batch,1]"), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    assert [o.name for o in evidence.outputs] == ["b", "a", "pair_0", "pair_1_scores"]


def test_inputs_declared_in_another_order_keep_their_names(tmp_path: Path) -> None:
    """Keyword inputs may be declared in any order; the file has forward's."""
    evidence = _prove(Nested(), ("mask=bool[batch,1]", "x=float32[batch,4]"), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    assert [i.name for i in onnx.load(tmp_path / "model.onnx").graph.input] == ["x", "mask"]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (Constant, "moves with the input by only"),
        (Zero, "is exactly zero on every probe (normal)"),
        (Random, "draws random numbers (aten.randn in forward)"),
        (Counting, "keeps state in count"),
        (NotANumber, "is not finite in PyTorch itself"),
    ],
)
def test_a_comparison_that_proves_nothing_is_inconclusive(model: type[nn.Module], says: str, tmp_path: Path) -> None:
    """Constant, dead, random, stateful and NaN models get no pass, and are told why."""
    evidence = _prove(model(), IMAGE, tmp_path)
    assert evidence.verdict == "inconclusive"
    assert says in " ".join(evidence.reasons)


def test_an_output_meant_to_be_constant_can_be_released(tmp_path: Path) -> None:
    """--constant-output takes the demand to move away, and nothing else."""
    assert _prove(Constant(), IMAGE, tmp_path, constant_outputs=("output",)).verdict == "pass"
    broken = _prove(Constant(), IMAGE, tmp_path, constant_outputs=("output",), mutate=_scale_any(1.01))
    assert broken.verdict == "fail"


def _scale_any(factor: float) -> Callable[[onnx.ModelProto], None]:
    def mutate(proto: onnx.ModelProto) -> None:
        for tensor in proto.graph.initializer:
            values = onnx.numpy_helper.to_array(tensor)
            if values.dtype == np.float32 and values.size == 5:
                tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(factor), tensor.name))

    return mutate


def test_wrong_scores_beside_large_boxes_fail(tmp_path: Path) -> None:
    """A score off by a thousandth fails though one rms over boxes and scores would hide it."""

    def mutate(proto: onnx.ModelProto) -> None:
        tensor, values = _initializer(proto, "score.bias")
        tensor.CopyFrom(onnx.numpy_helper.from_array(values + np.float32(4e-3), "score.bias"))

    assert _prove(BoxesAndScores(), ("features=float32[batch,16]",), tmp_path).verdict == "pass"
    evidence = _prove(BoxesAndScores(), ("features=float32[batch,16]",), tmp_path, mutate=mutate)
    assert evidence.verdict == "fail"
    assert "index 64" in evidence.reasons[0]


def test_a_one_element_output_passes_with_more_seeds(tmp_path: Path) -> None:
    """Small outputs are pooled over at least 8 seeds, so that luck is no verdict."""
    evidence = _prove(OneElement(), ("features=float32[batch,32]",), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    assert len({r.seed for r in evidence.probes if r.family == "normal"}) >= 8


def test_a_silently_narrowed_batch_is_an_export_error(tmp_path: Path) -> None:
    """torch.export narrows such a batch to 0..7 without a word; Assay says so."""
    with pytest.raises(ExportError, match=r"narrowed batch of x to \d+\.\.7"):
        _prove(BranchesOnBatch(), ("x=float32[batch,4]",), tmp_path, exporter="dynamo")


def test_the_size_that_an_analysis_suspects_is_proven(tmp_path: Path) -> None:
    """Where torch.export sees another way from eight rows on, the other exporter's file is tried there."""
    evidence = _prove(BranchesOnBatch(), ("x=float32[batch,4]",), tmp_path)
    assert evidence.verdict == "fail"


def test_a_branch_on_values_that_tracing_froze_is_inconclusive(tmp_path: Path) -> None:
    """No probe shows every side of a branch on values, so its file gets no pass, and the line is named."""
    evidence = _prove(BranchesOnValues(), ("x=float32[batch,4]",), tmp_path)
    assert evidence.verdict == "inconclusive"
    assert "tiny_models.py:" in evidence.reasons[0]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_mask_may_hide_almost_everything(tmp_path: Path) -> None:
    """A transformer that raises on a mask of zeros is proven all the same."""
    inputs = ("ids=int64[batch,length=13]@0..49", "mask=bool[batch,length]")
    evidence = _prove(MaskedEncoder(), inputs, tmp_path)
    assert evidence.verdict == "pass", evidence.reasons


def test_a_frozen_batch_is_never_passed(tmp_path: Path) -> None:
    """Where every exporter freezes the batch, the last file fails and the reason names what happened."""
    evidence = _prove(FreezesBatch(), ("x=float32[batch,4]",), tmp_path)
    assert evidence.verdict == "fail"


def test_a_wrong_file_sends_auto_to_the_next_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that runs but is wrong is not accepted: dynamo's is taken, and the reason is recorded."""
    monkeypatch.setattr("tasks.core.exporting.exporter_order", lambda _: (("torchscript", "dynamo"), "for the test"))
    model = OtherWhenTraced().eval()
    spec = ExportSpec(model=model, name="tiny", inputs=("x=float32[batch,4]",))
    chosen = choose_inputs(spec, model)
    reference = Reference(model, chosen)
    graph, _ = export(spec, model, chosen, reference=reference, provenance={}, folder=tmp_path)
    assert graph.exporter == "dynamo"
    assert "torchscript gave a wrong file" in graph.exporter_reason
    assert validate(Trial(graph, chosen, reference)).verdict == "pass"


def test_integer_and_bool_outputs_are_equal(tmp_path: Path) -> None:
    """Token ids in, arg-maxima and flags out."""
    evidence = _prove(IntegerOut(), ("ids=int64[batch,length=7]@0..19", "mask=bool[batch,length]"), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    lengths = {record.sizes["length"] for record in evidence.probes}
    assert len(lengths) >= 3, "the length is dynamic, so several are proven"


def test_a_model_in_train_mode_is_proven_in_eval_mode(tmp_path: Path) -> None:
    """Dropout left on does not get into the file."""
    evidence = _prove(Classifier().train(), IMAGE, tmp_path)
    assert evidence.verdict == "pass"
    assert "Dropout" not in [n.op_type for n in onnx.load(tmp_path / "model.onnx").graph.node]


def test_float64_run_is_bit_equal_to_a_double_twin() -> None:
    """Where deepcopy(model).double() works, the leafwise run gives the same bits, and leaves the model as it was."""
    import copy

    from tasks.core.precision import run_float64

    model = Classifier().eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(3, 3, 8, 8)
    assert torch.equal(run_float64(model, (x,), {}), copy.deepcopy(model).double()(x.double()))
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in model.state_dict().items())
    assert torch.get_default_dtype() == torch.float32
