"""Inputs are chosen as a user would expect, and probes stay within what was declared."""

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from tasks.core.errors import InputsError, OutOfMemoryError, SpecError
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.core.inputs.choosing import ANY, Echo, chosen


@pytest.mark.parametrize(
    ("name", "expected"),
    [("squeezenet1_1", 224), ("mobilenet_v3_small", 224), ("efficientnet_b3", 300), ("inception_v3", 299)],
)
def test_torchvision_models_have_default_sizes(name: str, expected: int) -> None:
    """A torchvision model without --input takes a dynamic batch at the crop of its default weights."""
    from tasks.core.inputs.samples import declared_inputs

    bare = resolve(ExportSpec(model=name)).model_copy(update={"inputs": ()})  # without the recipe's
    inputs = declared_inputs(bare, nn.Identity(), None)
    assert [str(spec) for spec in inputs] == [f"input=float32[batch,3,{expected},{expected}]"]


def test_a_size_that_the_model_fixes_comes_first() -> None:
    """A ViT built for 32 pixels takes 32, whatever its default weights crop to; forward names the input."""
    vit = models.VisionTransformer(32, 16, 1, 2, 8, 16)
    inputs = chosen(vit, name="vit_h_14")
    assert [str(spec) for spec in inputs.specs] == ["x=float32[batch=2,3,32,32]"]


def test_without_any_hint_the_parameters_are_named() -> None:
    """A class of one's own needs --input, and the message shows it for forward's own names."""
    with pytest.raises(InputsError, match=r"forward\(ids, mask\).*--input ids=float32\[batch,…\] --input mask="):
        chosen(Echo())


def test_names_of_forward_are_keywords() -> None:
    """Inputs that are all named like parameters are passed by keyword, in any order."""
    inputs = chosen(Echo(), "mask=bool[batch,4]", "ids=int64[batch,4]@0..9")
    args, kwargs = inputs.example()
    assert [path.argument for path in inputs.argument_paths] == ["ids", "mask"]
    assert args == ()
    assert (kwargs["ids"].dtype, kwargs["mask"].dtype) == (torch.int64, torch.bool)


def test_other_names_are_positions() -> None:
    """With one name that forward does not know all are passed by position, in the order given."""
    inputs = chosen(Echo(), "tokens=int64[batch,4]@0..9", "mask=bool[batch,4]")
    args, kwargs = inputs.example()
    assert [path.argument for path in inputs.argument_paths] == [0, 1]
    assert [value.dtype for value in args] == [torch.int64, torch.bool]
    assert kwargs == {}


def test_input_names_label_what_the_file_shows() -> None:
    """`input_names` rename inputs in order; too few of them are refused."""
    inputs = chosen(Echo(), "ids=int64[batch,4]@0..9", input_names=("tokens", "learned_0"))
    assert inputs.names == ("tokens",)
    with pytest.raises(SpecError, match="2 inputs need as many input_names, not 1"):
        chosen(Echo(), "ids=int64[4]@0..9", "mask=bool[4]", input_names=("a",))


def test_a_module_that_does_not_run_is_one_sentence() -> None:
    """A declared input that forward refuses is told with forward's own words."""
    with pytest.raises(
        InputsError, match=r"Linear does not run on x=float32\[batch=2,5\]: RuntimeError: mat1"
    ) as caught:
        chosen(nn.Linear(4, 3), "x=float32[batch,5]")
    assert "\n" not in str(caught.value)


def test_scalars_and_fixed_shapes_work() -> None:
    """Inputs without dims, and without any dynamic one, are drawn and probed."""
    inputs = chosen(Echo(), "ids=float32[]", "mask=float32[2,3]")
    for probe in inputs.probes:
        arrays = inputs.arrays(probe)
        assert all(isinstance(array, np.ndarray) for array in arrays.values())
        assert [array.shape for array in arrays.values()] == [(), (2, 3)]


def test_arguments_are_copies() -> None:
    """A model that writes into its input does not change the probe."""
    inputs = chosen(ANY, "x=float32[batch,3]")
    arrays = inputs.arrays(inputs.probes[0])
    before = arrays["x"].copy()
    args, kwargs = inputs.arguments(arrays)
    for tensor in (*args, *kwargs.values()):
        tensor.zero_()
    assert np.array_equal(arrays["x"], before)


class Hungry(nn.Module):
    """Needs more memory than there is for three rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """From x [batch, 4]."""
        if len(x) == 3:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        return x * 2


def test_a_lack_of_memory_is_no_refusal_of_a_size() -> None:
    """A size is not left out because a machine is small."""
    with pytest.raises(OutOfMemoryError, match="Memory ran out while Hungry ran at batch=3"):
        chosen(Hungry(), "x=float32[batch,4]")
