"""Masks hide rows whole, not at all, and from somewhere on; judged is where the module itself is finite."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tasks.core.errors import SpecError
from tests.core.inputs.choosing import chosen
from tests.core.proof.proving import exported, prove
from tests.field.traced import traced

MASKED = ("x=float32[batch,length=9,8]", "mask=bool[batch,length]")
NUMBERED = ("x=float32[batch,length=9,8]", "mask=int64[batch,length]@0..1")


class Hidden(nn.Module):
    """Attention in whose mask true hides; a row that is hidden whole is NaN."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend to what is not hidden."""
        q = self.q(x)
        scores = (q @ q.transpose(1, 2) * 0.3).masked_fill(mask[:, None, :], -torch.inf)
        return scores.softmax(-1) @ q  # type: ignore[no-any-return]


class Heads(nn.Module):
    """PyTorch's own attention, in whose mask true hides, too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.m = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend to what is not hidden."""
        return self.m(x, x, x, key_padding_mask=mask)[0]  # type: ignore[no-any-return]


class Shown(nn.Module):
    """Attention in whose mask true shows, by hand; `empty` is what a row that is hidden whole gives."""

    def __init__(self, empty: str = "zeros") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.empty = nn.Linear(8, 8), empty

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend to what is shown."""
        q = self.q(x)
        mask = mask.bool()[:, None, :]
        scores = (q @ q.transpose(1, 2) * 0.3).masked_fill(~mask, -torch.inf if self.empty == "nan" else -1e9)
        weights = scores.softmax(-1)
        return (weights * mask if self.empty == "zeros" else weights) @ q


class Fused(nn.Module):
    """Attention of PyTorch's own, which gives zeros for a row that is hidden whole."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend to what is shown."""
        q = self.q(x).unsqueeze(1)
        shown = mask[:, None, None, :].expand(-1, 1, x.shape[1], -1)
        return nn.functional.scaled_dot_product_attention(q, q, q, attn_mask=shown)


class Unmasked(Fused):
    """The same without its mask."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Attend to everything; the mask stays an input."""
        return super().forward(x, mask.logical_or(~mask))


class Flags(nn.Module):
    """Flags that are no mask, of which the first decides."""

    def __init__(self, *, sees_first: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last, self.sees_first = nn.Linear(8, 4), sees_first

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Scores, turned around where the first flag is off."""
        scores = self.last(x.mean(1))
        return scores * torch.where(mask[:, :1], 1.0, -1.0) if self.sees_first else scores  # type: ignore[no-any-return]


class Mean(nn.Module):
    """Averages what the mask shows; it raises where that is nothing, as packed rows do."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Scores."""
        assert mask.any(1).all(), "a row is empty"
        shown = mask[:, :, None].to(x.dtype)
        return self.last((x * shown).sum(1) / shown.sum(1))  # type: ignore[no-any-return]


def test_rows_that_are_nan_in_pytorch_are_left_out(tmp_path: Path) -> None:
    """A mask in which true hides proves a file, and the evidence says what was left out."""
    evidence = traced(Hidden(), MASKED, tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert "where mask is True all along a row, what is NaN in PyTorch itself is left out" in evidence.notes
    assert any(probe.family == "masks" for probe in evidence.probes)


@pytest.mark.slow
@pytest.mark.parametrize("inputs", [MASKED, NUMBERED])
def test_a_row_that_is_hidden_whole(inputs: tuple[str, ...], tmp_path: Path) -> None:
    """A file that gives a mean there is wrong where PyTorch gives zeros, and true where it gives NaN."""
    for module, empty, verdict in (("zeros", "zeros", "pass"), ("zeros", "mean", "fail"), ("nan", "mean", "pass")):
        evidence = traced(Shown(module), inputs, tmp_path, file_of=Shown(empty)).prove()
        assert evidence.verdict == verdict, evidence.reasons


def test_flags_are_off_in_the_first_place(tmp_path: Path) -> None:
    """A file that does not look at the first flag is wrong."""
    assert traced(Flags(), MASKED, tmp_path).prove().verdict == "pass"
    assert traced(Flags(), MASKED, tmp_path, file_of=Flags(sees_first=False)).prove().verdict == "fail"


@pytest.mark.slow
def test_heads_whose_mask_hides_are_proven(tmp_path: Path) -> None:
    """A length of one is among the sizes, though a row that is hidden whole is NaN."""
    evidence = prove(Heads(), MASKED, tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    assert any(dim.name == "length" and 1 in dim.sizes for dim in evidence.dims)


def test_rows_on_which_the_module_raises_are_left_out(tmp_path: Path) -> None:
    """A module takes no row that is empty; the others are compared."""
    evidence = traced(Mean(), MASKED, tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons
    assert any(note.startswith("rows of mask that are False all along are left out: ") for note in evidence.notes)
    assert any(probe.family == "masks" for probe in evidence.probes)


@pytest.mark.slow
def test_an_exporter_whose_file_is_wrong_for_hidden_rows_is_passed_over(tmp_path: Path) -> None:
    """Dynamo's file of fused attention gives a mean for a row that is hidden whole; the other exporter's is right."""
    evidence = prove(Fused(), MASKED, tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
    (tmp_path / "dynamo").mkdir()
    assert prove(Fused(), MASKED, tmp_path / "dynamo", exporter="dynamo").verdict == "fail"


PADDED = ("x=float32[batch,length=9,8]", "mask=bool[batch,length]@padded")


def test_masks_that_only_pad_are_declared(tmp_path: Path) -> None:
    """Dynamo's file, which is wrong for hidden rows only, passes; it still has to look at the mask."""
    proven = exported(Fused(), PADDED, tmp_path)
    assert (proven.prove().verdict, proven.graph.exporter) == ("pass", "dynamo")
    for probe in proven.inputs.probes:
        mask = proven.inputs.arrays(probe)["mask"]
        assert mask[:, 0].all(), probe
        assert (mask[:, :-1] >= mask[:, 1:]).all(), probe
    assert traced(Fused(), PADDED, tmp_path, file_of=Unmasked()).prove().verdict == "fail"


class Lengths(Mean):
    """The same of as many first places as the mask shows, which is right where padding is on the right."""

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Scores."""
        places = torch.ones_like(mask, dtype=torch.int64).cumsum(1)
        return super().forward(x, places <= mask.sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("declared", "verdict"), [("bool{}", "fail"), ("int64{}@0..1", "fail"), ("bool{}@padded", "pass"),
    ("bool{}@padded-left", "fail"), ("int64{}@padded-either", "fail")],
)  # fmt: skip
def test_a_file_that_takes_padding_on_the_right_only(declared: str, verdict: str, tmp_path: Path) -> None:
    """It is wrong where masks are not declared to pad on the right, and the module takes any."""
    inputs = (MASKED[0], f"mask={declared.format('[batch,length]')}")
    evidence = traced(Mean(), inputs, tmp_path, file_of=Lengths()).prove()
    assert evidence.verdict == verdict, evidence.reasons


@pytest.mark.parametrize(("side", "first", "last"), [("", 1, 0), ("-left", 0, 1), ("-either", 1, 1)])
def test_masks_are_padded_on_the_side_that_is_declared(side: str, first: int, last: int) -> None:
    """Some rows wholly shown, some of which one place is, and never a hole; a row of a large batch, too."""
    inputs = chosen(Mean().eval(), MASKED[0], f"mask=int64[batch,length]@padded{side}")
    masks = [inputs.arrays(probe)["mask"] for probe in inputs.probes if probe.sizes["length"] == 9]
    rows = np.concatenate(masks)
    assert {1, 9} <= {*rows.sum(1).tolist()}
    assert (np.abs(np.diff(rows, axis=1)).sum(1) <= 1).all()
    padded = rows[rows.sum(1) < 9]
    assert (padded[:, 0].max(), padded[:, -1].max()) == (first, last)


def test_a_sample_is_padded_as_declared(tmp_path: Path) -> None:
    """A mask with a hole is refused."""
    mask = np.ones((2, 9), dtype=bool)
    mask[0, 3] = False
    np.savez(tmp_path / "sample.npz", x=np.zeros((2, 9, 8), dtype=np.float32), mask=mask)
    with pytest.raises(SpecError, match=r"mask has rows that are not ones, then zeros, as .*@padded says"):
        exported(Fused(), PADDED, tmp_path, sample=tmp_path / "sample.npz")


class Sick(Shown):
    """The same, but NaN in rows that are shown whole, or hidden whole."""

    def __init__(self, *, shown: bool) -> None:
        super().__init__("zeros")
        self.shown = shown

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """NaN in such rows."""
        sick = mask.bool().all(1) if self.shown else ~mask.bool().any(1)
        return super().forward(x, mask).masked_fill(sick[:, None, None], torch.nan)


@pytest.mark.parametrize(("shown", "verdict"), [(True, "fail"), (False, "pass")])
def test_nan_is_excused_where_everything_is_hidden_only(shown: bool, verdict: str, tmp_path: Path) -> None:
    """NaN of a file misleads nobody in a row that the mask hides; where all is shown, it is wrong."""
    inputs = ("x=float32[batch,9,8]", "mask=bool[batch,9]")  # so long that no other probe shows a row whole
    evidence = traced(Shown("zeros"), inputs, tmp_path, file_of=Sick(shown=shown)).prove()
    assert evidence.verdict == verdict, evidence.reasons
