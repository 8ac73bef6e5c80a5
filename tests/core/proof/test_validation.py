"""True files of models with one peculiarity each pass, files that are a little wrong fail."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tasks.core.errors import ExportError
from tasks.core.export.fallback import export
from tasks.core.inputs.choice import choose_inputs
from tasks.core.proof.validation import validate
from tasks.core.reference.reference import Reference
from tasks.core.runtime.passes import LEVELS
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.proof.proving import IMAGE, prove, weight
from tests.models.tiny_models import (
    BranchesOnBatch,
    BranchesOnValues,
    Classifier,
    IntegerOut,
    MaskedEncoder,
    Nested,
    OtherWhenTraced,
)


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_a_true_export_passes(exporter: str, tmp_path: Path) -> None:
    """Both exporters' files of a plain classifier pass, at every size, with power to spare."""
    evidence = prove(Classifier(), IMAGE, tmp_path, exporter=exporter)
    assert evidence.verdict == "pass", evidence.reasons
    assert evidence.noise_ratio < 4
    assert {r.sizes["batch"] for r in evidence.probes} == {1, 2, 3, 5, 33}
    assert {r.family for r in evidence.probes} == {"normal", "wide", "zeros", "large"}
    assert {level for r in evidence.probes for level in r.levels} == {*LEVELS}
    assert evidence.outputs[0].power.movement > 10_000


@pytest.mark.parametrize(
    ("name", "factor"), [("head.weight", 1.01), ("head.weight", 1.0001), ("head.bias", 1.01), ("conv.weight", 0.99)]
)
def test_scaled_weights_fail(name: str, factor: float, tmp_path: Path) -> None:
    """Weights off by 1 % or by one in ten thousand fail, where allclose(1e-3, 1e-5) is content."""

    def mutate(proto: onnx.ModelProto) -> None:
        names = [t.name for t in proto.graph.initializer]
        target = name if name in names else next(n for n in names if n.startswith("conv") or "weight" in n)
        weight(target, lambda values: values * np.float32(factor))(proto)

    evidence = prove(Classifier(), IMAGE, tmp_path, mutate=mutate)
    assert evidence.verdict == "fail"
    assert "times the noise of float32" in evidence.reasons[0]


def test_weights_rounded_to_half_precision_fail(tmp_path: Path) -> None:
    """A file whose head went through float16 is not the model."""
    rounded = weight("head.weight", lambda values: values.astype(np.float16))
    assert prove(Classifier(), IMAGE, tmp_path, mutate=rounded).verdict == "fail"


def test_two_classes_swapped_fail(tmp_path: Path) -> None:
    """Rows of the head in another order fail."""
    order = [1, 0, 2, 3, 4]
    swapped = weight("head.weight", lambda values: values[:, order] if values.shape[1] == 5 else values[order])
    assert prove(Classifier(), IMAGE, tmp_path, mutate=swapped).verdict == "fail"


def test_nested_outputs_keep_their_names_and_order(tmp_path: Path) -> None:
    """A dict with b before a, a tuple and a dataclass come out under their own names and pass."""
    evidence = prove(Nested(), ("x=float32[batch,4]", "mask=bool[batch,1]"), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    assert [o.name for o in evidence.outputs] == ["b", "a", "pair_0", "pair_1_scores"]


def test_inputs_declared_in_another_order_keep_their_names(tmp_path: Path) -> None:
    """Keyword inputs may be declared in any order; the file has forward's."""
    evidence = prove(Nested(), ("mask=bool[batch,1]", "x=float32[batch,4]"), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    assert [i.name for i in onnx.load(tmp_path / "model.onnx").graph.input] == ["x", "mask"]


def test_a_silently_narrowed_batch_is_an_export_error(tmp_path: Path) -> None:
    """torch.export narrows such a batch to 0..7 without a word; Assay says so."""
    with pytest.raises(ExportError, match=r"narrowed batch of x to \d+\.\.7"):
        prove(BranchesOnBatch(), ("x=float32[batch,4]",), tmp_path, exporter="dynamo")


def test_the_size_that_an_analysis_suspects_is_proven(tmp_path: Path) -> None:
    """Where torch.export sees another way from eight rows on, the other exporter's file is tried there."""
    evidence = prove(BranchesOnBatch(), ("x=float32[batch,4]",), tmp_path)
    assert evidence.verdict == "fail"


@pytest.mark.parametrize("exporter", ["auto", "torchscript"])
def test_a_branch_on_values_that_tracing_froze_is_inconclusive(exporter: str, tmp_path: Path) -> None:
    """No probe shows every side of a branch on values, so its file gets no pass, and the line is named."""
    evidence = prove(BranchesOnValues(), ("x=float32[batch,4]",), tmp_path, exporter=exporter)
    assert evidence.verdict == "inconclusive"
    assert "tiny_models.py:" in evidence.reasons[0]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_a_mask_may_hide_almost_everything(tmp_path: Path) -> None:
    """A transformer that raises on a mask of zeros is proven all the same."""
    inputs = ("ids=int64[batch,length=13]@0..49", "mask=bool[batch,length]")
    evidence = prove(MaskedEncoder(), inputs, tmp_path)
    assert evidence.verdict == "pass", evidence.reasons


def test_a_wrong_file_sends_auto_to_the_next_exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that runs but is wrong is not accepted: dynamo's is taken, and the reason is recorded."""
    monkeypatch.setattr(
        "tasks.core.export.fallback.exporter_order", lambda _: (("torchscript", "dynamo"), "for the test")
    )
    model = OtherWhenTraced().eval()
    spec = resolve(ExportSpec(model=model, name="tiny", inputs=("x=float32[batch,4]",)))
    chosen = choose_inputs(spec, model)
    reference = Reference(model, chosen)
    candidate, _ = export(spec, reference, provenance={}, folder=tmp_path)
    assert candidate.graph.exporter == "dynamo"
    assert "torchscript gave a wrong file" in candidate.graph.exporter_reason
    assert validate(candidate, reference).evidence.verdict == "pass"


def test_integer_and_bool_outputs_are_equal(tmp_path: Path) -> None:
    """Token ids in, arg-maxima and flags out."""
    evidence = prove(IntegerOut(), ("ids=int64[batch,length=7]@0..19", "mask=bool[batch,length]"), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    lengths = {record.sizes["length"] for record in evidence.probes}
    assert len(lengths) >= 3, "the length is dynamic, so several are proven"


def test_float64_run_is_bit_equal_to_a_double_twin() -> None:
    """Where deepcopy(model).double() works, the leafwise run gives the same bits, and leaves the model as it was."""
    import copy

    from tasks.core.forward.precision import run_float64

    model = Classifier().eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x = torch.randn(3, 3, 8, 8)
    assert torch.equal(run_float64(model, (x,), {}), copy.deepcopy(model).double()(x.double()))
    assert all(torch.equal(v, before[k]) and v.dtype == before[k].dtype for k, v in model.state_dict().items())
    assert torch.get_default_dtype() == torch.float32


class WithoutFloat64(Classifier):
    """Refuses float64, as a custom kernel may."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Score an image."""
        if image.dtype == torch.float64:
            raise RuntimeError("no kernel for Double")
        return super().forward(image)


def test_a_weaker_floor_is_noted_where_a_reader_sees_it(tmp_path: Path) -> None:
    """A pass that was measured without float64 says so in its notes, with the reason."""
    evidence = prove(WithoutFloat64(), IMAGE, tmp_path, exporter="torchscript")
    assert evidence.verdict == "pass", evidence.reasons
    assert evidence.floor.startswith("mean of 5 perturbed float32 runs")
    assert any("less than float64" in note and "no kernel for Double" in note for note in evidence.notes)
    assert prove(Classifier(), IMAGE, tmp_path, exporter="torchscript").notes == ()
