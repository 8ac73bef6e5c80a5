"""Tiny modules with one peculiarity each."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


class Classifier(nn.Module):
    """A convolution, a norm and a head: fast, alive, dynamic in its batch."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8 * 8 * 8, num_classes)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Score an 8 x 8 image."""
        return self.head(self.drop(torch.relu(self.norm(self.conv(image))).flatten(1)))


class Constant(Classifier):
    """Ignores its input, but for the batch."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the bias in each row."""
        return self.head.bias + 0.0 * image.flatten(1)[:, :5]


class Zero(Classifier):
    """Has a zero head, as a fresh ViT."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)


class Random(Classifier):
    """Draws noise in forward."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Add noise."""
        return super().forward(image) + torch.randn(image.shape[0], 5)


class Counting(Classifier):
    """Keeps state in a plain attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Answer larger and larger."""
        self.count += 1
        return super().forward(image) * float(self.count)


class NotANumber(Classifier):
    """Returns NaN."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Take the root of negative numbers."""
        return torch.sqrt(-super().forward(image).abs() - 1)


class BoxesAndScores(nn.Module):
    """Large boxes and small scores in one tensor, as detectors return them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.boxes = nn.Linear(16, 64)
        self.score = nn.Linear(16, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Sixteen boxes of 0 to 640, a score of 0 to 1."""
        return torch.cat([torch.sigmoid(self.boxes(features)) * 640, torch.sigmoid(self.score(features))], dim=-1)


class OneElement(nn.Module):
    """One number a row."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 1))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Regress."""
        return self.layers(features)


@dataclass
class Answer:
    """A dataclass output."""

    scores: torch.Tensor
    extra: Any = None


class Nested(nn.Module):
    """A dict whose keys are not sorted, with a tuple and a dataclass inside."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> dict[str, Any]:
        """Return b before a."""
        first = self.b(x) * mask
        return {"b": first, "a": self.a(x), "pair": (first + 1, Answer(first * 2))}


class BranchesOnBatch(nn.Module):
    """Takes another way from eight rows on, more than any probe has by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Double small batches."""
        return self.layer(x) * 2 if x.shape[0] < 8 else self.layer(x) - 1


class BranchesOnValues(nn.Module):
    """Takes another way for inputs so large that no probe has them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Double the answer to large inputs."""
        y = self.layer(x)
        return y * 2 if float(x.abs().max()) > 1000 else y


class FreezesBatch(nn.Module):
    """Reshapes with the batch as a Python number, which tracing freezes."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Reshape there and back."""
        return self.layer(x).reshape(int(x.shape[0]) * 2, 2).reshape(int(x.shape[0]), 4)


class OtherWhenTraced(nn.Module):
    """Has a short cut for tracing, as real code has, and it is wrong."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Leave out the activation while TorchScript is looking."""
        features = self.layer(x)
        return features if torch.jit.is_tracing() else torch.relu(features)


class MaskedEncoder(nn.Module):
    """A transformer layer, which raises where a mask hides everything."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(50, 8)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Features of the tokens that the mask shows."""
        return self.encoder(self.embedding(ids), src_key_padding_mask=~mask) * mask[..., None]


class IntegerOut(nn.Module):
    """Integers and booleans out, integers and booleans in."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(20, 8)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The largest feature of each token, and whether it is positive and unmasked."""
        features = self.embedding(ids)
        return features.argmax(dim=-1), (features.amax(dim=-1) > 1.0) & mask
