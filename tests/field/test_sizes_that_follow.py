"""Sizes that depend on each other: true files pass, the equation declared or found, and wrong ones do not."""

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.core.proof.proving import exported, prove
from tests.field.traced import traced

CACHE = ("past_k=float32[batch,past=5,8]", "past_v=float32[batch,past=5,8]")
DECLARED = ("ids=int64[batch,new=3]@0..19", "mask=int64[batch,total=past+new]@0..1", *CACHE)
FREE = (DECLARED[0], "mask=int64[batch,total=8]@0..1", *CACHE)


class DecoderStep(nn.Module):
    """One step of a decoder with a cache; the mask is as long as past and new tokens together."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.inward, self.outward = nn.Embedding(20, 8), nn.Linear(8, 24), nn.Linear(8, 20)
        self.positions = nn.Embedding(64, 8)

    def first(self, ids: torch.Tensor, past_k: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | int:
        """The position of the first new token."""
        return past_k.shape[1]

    def forward(
        self, ids: torch.Tensor, mask: torch.Tensor, past_k: torch.Tensor, past_v: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Scores, and the longer cache."""
        positions = torch.arange(ids.shape[1]) + self.first(ids, past_k, mask)
        q, k, v = self.inward(self.table(ids) + self.positions(positions)).chunk(3, -1)
        k, v = torch.cat([past_k, k], 1), torch.cat([past_v, v], 1)
        scores = (q @ k.transpose(1, 2) / 8**0.5).masked_fill(mask[:, None] == 0, torch.finfo(q.dtype).min)
        return {"logits": self.outward(scores.softmax(-1) @ v), "k": k, "v": v}


class CountsFromTheEnd(DecoderStep):
    """Right for three new tokens only."""

    def first(self, ids: torch.Tensor, past_k: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | int:
        """What is left of the mask."""
        return mask.shape[1] - 3


class CountsFromTheMask(DecoderStep):
    """Right, too: the mask is as long as both together."""

    def first(self, ids: torch.Tensor, past_k: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | int:
        """What the new tokens leave of the mask."""
        return mask.shape[1] - ids.shape[1]


class KnowsThePast(DecoderStep):
    """Right for five tokens in the cache only."""

    def first(self, ids: torch.Tensor, past_k: torch.Tensor, mask: torch.Tensor) -> torch.Tensor | int:
        """A number."""
        return 5


class Doubled(nn.Module):
    """Adds a signal at twice the rate; another one may have any size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mixed = nn.Conv1d(3, 3, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Each sample twice."""
        return self.mixed(x).repeat_interleave(2, 2) + y


class Grid(nn.Module):
    """Adds a value for each place of a map."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.mixed = nn.Conv2d(3, 4, 1)

    def forward(self, image: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """One token a place."""
        return self.mixed(image).flatten(2).transpose(1, 2) + tokens


@pytest.mark.parametrize(
    "inputs", [pytest.param(DECLARED, marks=pytest.mark.slow, id="declared"), pytest.param(FREE, id="found")]
)
def test_a_decoder_step_with_a_cache_passes(inputs: tuple[str, ...], tmp_path: Path) -> None:
    """Dims of inputs and outputs have the word, and each is proven at several sizes."""
    file = exported(DecoderStep(), inputs, tmp_path, exporter="torchscript")
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert [value.dims for value in file.graph.inputs][:2] == [("batch", "new"), ("batch", "total")]
    assert [value.dims for value in file.graph.outputs][1:] == [("batch", "total", 8)] * 2
    sizes = {dim.name: dim.sizes for dim in evidence.dims}
    assert min(len(sizes[name]) for name in ("past", "new", "total")) >= 3
    assert sum("total was taken for new+past" in note for note in evidence.notes) == (inputs is FREE)


@pytest.mark.parametrize(
    "wrong",
    [CountsFromTheEnd(), pytest.param(KnowsThePast(), marks=pytest.mark.slow)],
    ids=lambda module: type(module).__name__,
)
def test_a_file_that_is_right_for_one_of_the_sizes_fails(wrong: nn.Module, tmp_path: Path) -> None:
    """Each size that others follow from is varied without the other."""
    assert traced(DecoderStep(), DECLARED, tmp_path, file_of=wrong).prove().verdict == "fail"


@pytest.mark.slow
def test_a_file_that_uses_the_equation_passes(tmp_path: Path) -> None:
    """What follows from sizes may be computed from any of them."""
    evidence = traced(DecoderStep(), DECLARED, tmp_path, file_of=CountsFromTheMask()).prove()
    assert evidence.verdict == "pass", evidence.reasons


class Broadcast(nn.Module):
    """Adds what is as long, or of length 1."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """One for all, or one each."""
        return self.layer(x) + y


class NoBroadcast(Broadcast):
    """Adds the last of what is of length 1 to the last only."""

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Filled up with zeros."""
        filled = torch.cat([torch.zeros_like(x), y], 1)[:, -x.shape[1] :]
        return super().forward(x, filled)


def test_a_size_of_one_is_proven_beside_the_equation(tmp_path: Path) -> None:
    """What is broadcast may be 1 though nothing else than the other size."""
    inputs = ("x=float32[batch,n=6,4]", "y=float32[batch,m=6,4]")
    file = traced(Broadcast(), inputs, tmp_path)
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert any("m was taken for n" in note for note in evidence.notes)
    assert any(probe.sizes == {"batch": 2, "n": 6, "m": 1} for probe in evidence.probes)


def test_a_file_that_is_wrong_at_a_size_of_one_fails(tmp_path: Path) -> None:
    """Though it is right wherever the equation holds."""
    inputs = ("x=float32[batch,n=6,4]", "y=float32[batch,m=6,4]")
    evidence = traced(Broadcast(), inputs, tmp_path, file_of=NoBroadcast()).prove()
    assert evidence.verdict == "fail"


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Doubled(), ("x=float32[batch,3,n=6]", "y=float32[batch,3,2*n]")),
        (Doubled(), ("x=float32[batch,3,n=6]", "y=float32[batch,3,m=12]")),
        (Grid(), ("image=float32[batch,3,height=6,width=4]", "tokens=float32[batch,places=height*width,4]")),
        (Grid(), ("image=float32[batch,3,height=6,width=4]", "tokens=float32[batch,places=24,4]")),
    ],
    ids=["multiple", "found-multiple", "product", "found-product"],
)
@pytest.mark.parametrize("exporter", [pytest.param("dynamo", marks=pytest.mark.slow), "torchscript"])
def test_multiples_and_products_pass(model: nn.Module, inputs: tuple[str, ...], exporter: str, tmp_path: Path) -> None:
    """Declared or found, by either exporter."""
    evidence = prove(model, inputs, tmp_path, exporter=exporter)
    assert evidence.verdict == "pass", evidence.reasons
    assert all(dim.in_file and len(dim.sizes) > 2 for dim in evidence.dims)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [DECLARED, FREE], ids=["declared", "found"])
def test_torch_export_finds_a_sum_itself(inputs: tuple[str, ...], tmp_path: Path) -> None:
    """It can't be told one; the file has the word that was declared."""
    file = exported(DecoderStep(), inputs, tmp_path, exporter="dynamo")
    evidence = file.prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert [value.dims for value in file.graph.inputs][:2] == [("batch", "new"), ("batch", "total")]
