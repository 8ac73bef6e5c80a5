"""Sizes of dynamic dimensions: traced at two or more, proven within bounds, refused ones told."""

import types

import pytest
import torch
from torch import nn

from tasks.core.errors import SpecError
from tests.core.inputs.choosing import ANY, Echo, Picky, chosen, sizes_of


class Two(nn.Module):
    """Takes two inputs."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Both added up."""
        return x.sum() + y.sum()


class Three(nn.Module):
    """Takes three inputs."""

    def forward(self, x: torch.Tensor, past: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """All added up."""
        return x.sum() + past.sum() + new.sum()


def test_the_traced_batch_is_at_least_two() -> None:
    """A batch of 1 in the example would be frozen: dynamic sizes are traced at 2 or more, unless bounded to 1."""
    assert chosen(ANY, "x=float32[batch,3]").probes[0].sizes == {"batch": 2}
    assert chosen(ANY, "x=float32[batch=1,3]").probes[0].sizes == {"batch": 2}
    assert chosen(ANY, "x=float32[batch=7,3]").probes[0].sizes == {"batch": 7}
    assert chosen(ANY, "x=float32[batch:1..1,3]").probes[0].sizes == {"batch": 1}
    assert chosen(ANY, "x=float32[batch,length=1]").probes[0].sizes == {"batch": 2, "length": 2}


def test_a_batch_is_probed_at_one_two_odd_and_larger() -> None:
    """A dynamic batch is proven at 1, 2, 3 and 5."""
    assert sizes_of(chosen(ANY, "x=float32[batch,3]"), "batch") == {1, 2, 3, 5}


@pytest.mark.parametrize("bounds", ["2..3", "4..4", "6..9", "20..", "1..2", "0..3"])
def test_bounds_hold_for_every_probe(bounds: str) -> None:
    """No probe leaves a dimension's bounds, as batch or not; where there is room it is probed at two sizes."""
    low, _, high = bounds.partition("..")
    lowest, highest = max(int(low), 1), int(high or 10**6)
    for text in (f"x=float32[n:{bounds},3]", f"x=float32[batch,n={max(lowest, 2)}:{bounds}]"):
        sizes = sizes_of(chosen(ANY, text), "n")
        assert all(lowest <= size <= highest for size in sizes)
        assert len(sizes) > 1 or lowest == highest


def test_other_dims_are_probed_at_one_two_an_odd_and_a_large_size() -> None:
    """A dynamic dimension beside the batch is traced at its size and proven at 1, 2 and two others; pictures at two."""
    inputs = chosen(ANY, "x=float32[batch,length=12]")
    assert inputs.probes[0].sizes == {"batch": 2, "length": 12}
    assert {1, 2, 13} < sizes_of(inputs, "length") - {12}
    assert inputs.refused == {}
    assert len(sizes_of(chosen(ANY, "x=float32[batch,height=224]"), "height") - {224}) == 2


def test_bounds_are_probed() -> None:
    """A dynamic dimension is proven at its bounds, the far ones by themselves; only what can't be run is left out."""
    assert {5, 40} <= sizes_of(chosen(ANY, "x=float32[batch,length=12:5..40]"), "length")
    assert 400 in sizes_of(chosen(ANY, "x=float32[batch,length=12:5..400]"), "length")
    too_far = chosen(ANY, "x=float32[batch,length=12:5..100000000000]")
    assert too_far.notes == ("length=100000000000, its upper bound, was not run: it takes too much",)


def test_refused_sizes_are_recorded_and_not_probed() -> None:
    """Sizes at which the module itself raises are recorded, and others that it takes are probed instead."""
    inputs = chosen(Picky(lambda _, length: length % 8 == 0), "x=float32[batch,length=32]")
    assert all(size % 8 == 0 for size in sizes_of(inputs, "length"))
    assert len(sizes_of(inputs, "length")) >= 3
    assert {33, 31} <= set(inputs.refused["length"])


def test_refused_batches_are_recorded_and_not_probed() -> None:
    """A module that takes even batches only, or no single sample, is proven at those that it takes."""
    inputs = chosen(Picky(lambda batch, _: batch % 2 == 0), "x=float32[batch,3]")
    assert sizes_of(inputs, "batch") == {2}
    assert set(inputs.refused["batch"]) == {1, 3, 5}
    inputs = chosen(Picky(lambda batch, _: batch > 1), "x=float32[batch,3]")
    assert sizes_of(inputs, "batch") == {2, 3, 5}
    assert inputs.refused["batch"] == (1,)


def test_a_dimension_has_one_size_everywhere() -> None:
    """A name that stands twice has one size and both bounds; contradictions are refused."""
    inputs = chosen(Echo(), "ids=int64[batch,n=6:2..20]@0..9", "mask=bool[batch,n:4..]")
    assert [str(spec) for spec in inputs.specs][1] == "mask=bool[batch=2,n=6:4..20]"
    for wrong in ("mask=bool[batch,n=7]", "mask=bool[batch,n:30..40]", "mask=bool[batch,n:7..9]"):
        with pytest.raises(SpecError):
            chosen(Echo(), "ids=int64[batch,n=6:2..20]@0..9", wrong)


def test_a_dimension_without_a_size_is_refused() -> None:
    """Only the batch has a size by custom; for another the message says how to give one."""
    with pytest.raises(SpecError, match=r"dimension length needs a size to trace at; write length=SIZE"):
        chosen(ANY, "x=float32[batch,length]")


def test_sizes_that_follow_from_others_are_computed() -> None:
    """They are no dimensions of their own to vary, and have the size that their formula gives, in arrays, too."""
    inputs = chosen(Three(), "x=float32[batch,total=past+new,2*past]", "past=float32[past=5]", "new=float32[new=3]")
    assert [dim.size for dim in inputs.specs[0].dims] == [2, 8, 10]
    assert inputs.probes[0].sizes == {"batch": 2, "past": 5, "new": 3}
    for probe in inputs.probes:
        sizes = probe.sizes
        shape = inputs.arrays(probe)["x"].shape
        assert shape == (sizes["batch"], sizes["past"] + sizes["new"], 2 * sizes["past"])


def test_a_batch_that_others_follow_from_is_not_put_together_of_rows() -> None:
    """Nor is a leading dimension that follows from others a batch."""
    inputs = chosen(Two(), "x=float32[batch,3]", "y=float32[rows=2*batch,batch]")
    assert all(not probe.rows for probe in inputs.probes)
    assert {inputs.arrays(probe)["y"].shape[0] for probe in inputs.probes} == {2, 4, 6, 10, 66}
    assert "n" in chosen(Two(), "x=float32[2*n,3]", "y=float32[n=4]").probes[0].sizes


def test_what_the_config_says_is_a_size() -> None:
    """A number under the dimension's own name, the sides of a picture, a length that it can take."""

    class Configured(nn.Identity):
        config = types.SimpleNamespace(n_mels=80, image_size=(32, 48), n_positions=12)

    assert chosen(Configured(), "x=float32[batch,n_mels,height,width]").probes[0].sizes == {
        "batch": 2, "n_mels": 80, "height": 32, "width": 48,
    }  # fmt: skip
    assert chosen(Configured(), "x=float32[batch,length]").probes[0].sizes["length"] == 12
    with pytest.raises(SpecError, match="The dimension frames needs a size"):
        chosen(Configured(), "x=float32[batch,frames]")
