"""Of equal values any index is right, and of values that a rounding tells apart either; of others one only."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from tests.core.proof.proving import Mutation, led_through, prove, weight
from tests.field.traced import traced

SCORES = "scores=float32[batch,40]"


class Top(nn.Module):
    """The five best, and where they are."""

    largest = True

    def forward(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """A blank input is all ties."""
        return scores.topk(5, dim=1, largest=self.largest)  # type: ignore[return-value]


class Least(Top):
    """The five worst."""

    largest = False


class Places(Top):
    """Where the best are, alone."""

    def forward(self, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Without their values."""
        return super().forward(scores)[1]


class WorstPlaces(Least):
    """Where the worst are, alone."""

    def forward(self, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Without their values."""
        return super().forward(scores)[1]


class OnePlace(Places):
    """The best place five times."""

    def forward(self, scores: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Each index is as good as any, but not all of them together."""
        return super().forward(scores)[:, :1].repeat(1, 5)


class End(nn.Module):
    """What stands at the first end of a text, which is its largest id, as padding is."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.places = nn.Embedding(40, 8), nn.Embedding(9, 8)

    def place(self, ids: torch.Tensor) -> torch.Tensor:
        """The first one."""
        return ids.argmax(-1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Its embedding, and that of its place."""
        return (self.tokens(ids) + self.places.weight).gather(1, self.place(ids)[:, None, None].expand(-1, 1, 8))


class LastEnd(End):
    """What stands at the last one."""

    def place(self, ids: torch.Tensor) -> torch.Tensor:
        """The first one from behind."""
        return ids.shape[1] - 1 - ids.flip(1).argmax(-1)


class Neighbours(nn.Module):
    """The nearest points: distances on a grid tie."""

    def forward(self, p: torch.Tensor) -> torch.Tensor:
        """Of three neighbours the first is the point itself."""
        return torch.topk((p[:, :, None] - p[:, None]).square().sum(-1), 3, dim=-1, largest=False).indices


class Sorted(nn.Module):
    """An order, and what stands in it."""

    def forward(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Ranks and labels."""
        order = scores.argsort(dim=1, descending=True)
        return order, order % 7


class Peaks(nn.Module):
    """The boxes at the highest places of a map, as CenterNet gives them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heat, self.boxes = nn.Conv2d(3, 1, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """A blank picture has equal heat everywhere but at its edges."""
        places = self.heat(image).flatten(1).topk(5).indices
        grid = torch.arange(64).float().reshape(1, 1, 64)
        boxes = self.boxes(image).flatten(2) + grid
        return boxes.gather(2, places[:, None].expand(-1, 4, -1))


class Masked(nn.Module):
    """The best of the logits that are allowed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(16, 40)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One rounding of the mask is more than any logit."""
        return (self.layer(x) + torch.where(torch.arange(40) % 3 == 0, -1e9, 0.0)).argmax(-1)


class Codes(nn.Module):
    """The nearest code of a book decides everything after it."""

    def __init__(self, size: int = 512) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.c, self.book = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Embedding(size, 8)
        self.d = nn.ConvTranspose2d(8, 3, 4, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """An image, and its codes."""
        z = self.c(x).permute(0, 2, 3, 1)
        found = torch.cdist(z.flatten(1, 2), self.book.weight[None].expand(z.shape[0], -1, -1)).argmin(-1)
        return self.d(self.book(found).view(z.shape).permute(0, 3, 1, 2)), found


@pytest.mark.parametrize(
    ("model", "inputs"),
    [
        (Top(), SCORES),
        (Top(), "scores=uint8[batch,40]"),
        (Top(), f"{SCORES}@0..1"),
        (Places(), "scores=int64[batch,40]@0..1"),
        (Sorted(), SCORES),
        (End(), "ids=int64[batch,9]@0..39"),
        (Neighbours(), "p=float32[batch,points=30:4..,2]@0..9"),
        (Peaks(), "image=float32[batch,3,8,8]"),
        (Masked(), "x=float32[batch,16]"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_true_file_passes(model: nn.Module, inputs: str, tmp_path: Path) -> None:
    """Whichever of equal values it takes."""
    evidence = traced(model, (inputs,), tmp_path).prove()
    assert evidence.verdict == "pass", evidence.reasons


@pytest.mark.parametrize(
    ("model", "inputs", "wrong"),
    [
        (Top(), SCORES, Least()),
        (Places(), "scores=uint8[batch,40]", WorstPlaces()),
        (Places(), "scores=int64[batch,40]@0..1", WorstPlaces()),
        (Places(), "scores=int64[batch,40]@0..1", OnePlace()),
        (End(), "ids=int64[batch,9]@0..39", LastEnd()),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_other_indices_do_not_pass(model: nn.Module, inputs: str, wrong: nn.Module, tmp_path: Path) -> None:
    """Not among values that nearly all have an equal, either."""
    assert traced(model, (inputs,), tmp_path, file_of=wrong).prove().verdict != "pass"


def _swapped(proto: onnx.ModelProto) -> None:
    """The second-best place of each row stands first."""
    led_through("output", "Gather", np.array([1, 0, 2, 3, 4]))(proto)
    proto.graph.node[-1].attribute.append(onnx.helper.make_attribute("axis", 1))


def test_one_index_off_fails(tmp_path: Path) -> None:
    """Without ties only one index is right."""
    evidence = traced(Places(), (SCORES,), tmp_path).prove(mutate=_swapped)
    assert evidence.verdict == "fail"


def test_the_rounding_of_a_mask_excuses_no_index(tmp_path: Path) -> None:
    """The noise of -1e9 is 32, that of the logits beside it 1e-7."""
    file = traced(Masked(), ("x=float32[batch,16]",), tmp_path)

    def wrong(proto: onnx.ModelProto) -> None:
        tensor = next(t for t in proto.graph.initializer if t.name == "layer.bias")
        values = numpy_helper.to_array(tensor) + np.where(np.arange(40) == 1, 1.0, 0.0)
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))

    assert file.prove(mutate=wrong).verdict == "fail"


@pytest.mark.slow
def test_wrong_boxes_at_the_right_places_fail(tmp_path: Path) -> None:
    """Luck of the places on a blank picture excuses nothing on others."""
    file = traced(Peaks(), ("image=float32[batch,3,8,8]",), tmp_path)
    assert file.prove(mutate=weight("boxes.weight", lambda values: values * 1.001)).verdict == "fail"


@pytest.mark.slow
@pytest.mark.parametrize("change", [None, 1.001], ids=["true", "one per mille off"])
def test_a_nearest_code_is_rarely_luck(change: float | None, tmp_path: Path) -> None:
    """Rare flips of a code make no file wrong, and hide no wrong decoder."""
    file = traced(Codes(), ("x=float32[batch,3,64,64]",), tmp_path)
    mutate: Mutation | None = weight("d.weight", lambda values: values * change) if change else None
    evidence = file.prove(mutate=mutate)
    assert evidence.verdict == ("fail" if change else "pass"), evidence.reasons


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "inputs"), [(Top(), SCORES), (Codes(), "x=float32[batch,3,64,64]")], ids=["topk", "codes"]
)
def test_an_export_passes(model: nn.Module, inputs: str, tmp_path: Path) -> None:
    """By the exporter that comes first."""
    evidence = prove(model, (inputs,), tmp_path)
    assert evidence.verdict == "pass", evidence.reasons
