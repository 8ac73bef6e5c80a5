"""The panel: models of every kind that exports meet, small where size proves nothing.

Each entry is exported once; the untouched file and its mutants are then held against one Reference.
The weights are random, the digits' own, or those of tests/models/real_models.py where RW_SITE has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.core.export.fallback import export
from tasks.core.inputs.choice import choose_inputs
from tasks.core.inputs.inputs import Inputs
from tasks.core.model.building import build_with_weights
from tasks.core.records.steps import Candidate, Graph
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tasks.core.weights.sources import find_weights
from tests.models.real_models import CASES, SITE

_REAL = Path(__file__).with_name("real_models.py")


@dataclass(frozen=True)
class Entry:
    """One model of the panel."""

    name: str
    kind: str
    """What it stands for: CNN, depthwise, transformer…"""
    inputs: tuple[str, ...] = ()
    model: str = ""
    """A catalog entry, a torchvision name or `file.py:factory`; empty: the function of this name in this file."""
    weights: str | None = "random"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    may_be_inconclusive: bool = False
    """No pass is asked of it yet."""
    exporter: str = "auto"

    @property
    def missing(self) -> str:
        """Why it can't be built here; empty: it can."""
        is_here = not self.weights or not self.weights.startswith(str(SITE)) or Path(self.weights).exists()
        return "" if is_here else f"no {Path(self.weights or '').name} below RW_SITE (tests/real_weights.sh)"

    def spec(self) -> ExportSpec:
        """What to export."""
        model = self.model or f"{Path(__file__)}:{self.name}"
        asked = {"inputs": self.inputs, "kwargs": dict(self.kwargs), "exporter": self.exporter}
        return resolve(ExportSpec(model=model, weights=self.weights, **asked))


@dataclass(frozen=True)
class Subject:
    """An exported model of the panel."""

    entry: Entry
    model: nn.Module
    inputs: Inputs
    reference: Reference
    candidate: Candidate

    @property
    def graph(self) -> Graph:
        """The file."""
        return self.candidate.graph


def prepare(entry: Entry, folder: Path) -> Subject:
    """Build and export one model; what its reference answers is kept for one file after another."""
    spec = entry.spec()
    model, _ = build_with_weights(spec, find_weights(spec, Path))
    inputs = choose_inputs(spec, model)
    reference = Reference(model, inputs)
    candidate, _ = export(spec, reference, provenance={}, folder=folder)
    return Subject(entry, model, inputs, reference, candidate)


def tiny_vit() -> nn.Module:
    """Torchvision's vision transformer with two blocks."""
    from torchvision.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10
    )


def tiny_swin() -> nn.Module:
    """Torchvision's shifted windows, two stages."""
    from torchvision.models.swin_transformer import SwinTransformer

    return SwinTransformer(
        patch_size=[4, 4], embed_dim=24, depths=[2, 2], num_heads=[2, 4], window_size=[4, 4], num_classes=10
    )


def tiny_convnext() -> nn.Module:
    """Torchvision's ConvNeXt, two stages."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    return ConvNeXt([CNBlockConfig(16, 32, 2), CNBlockConfig(32, None, 2)], num_classes=10)


class LstmTagger(nn.Module):
    """A tagger of tokens: embedding, two bidirectional LSTM layers, softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(60, 16)
        self.lstm = nn.LSTM(16, 12, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(24, 7)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Probability of each tag, by token."""
        features, _ = self.lstm(self.embedding(ids))
        return torch.softmax(self.head(features), dim=-1)


class LstmClassifier(nn.Module):
    """Reads token ids forwards, scores the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(60, 16)
        self.lstm = nn.LSTM(16, 24, batch_first=True)
        self.head = nn.Linear(24, 5)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores of five classes."""
        features, _ = self.lstm(self.embedding(ids))
        return self.head(features[:, -1])


class TextEncoder(nn.Module):
    """A transformer layer over masked tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(50, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, activation="gelu")
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Scores from the mean over the tokens that the mask shows."""
        shown = mask[..., None].float()
        features = self.encoder(self.embedding(ids), src_key_padding_mask=~mask) * shown
        return self.head(features.sum(1) / shown.sum(1))


class UNet(nn.Module):
    """Segmentation: down, a bridge, up by resizing and by a transposed convolution, with skips."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2 = _block(3, 8), _block(8, 16)
        self.bridge = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.PReLU(16))
        self.up2 = nn.ConvTranspose2d(16, 16, 2, stride=2)
        self.up1 = _block(32, 8)
        self.last = nn.Conv2d(16, 3, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Scores of three classes at each pixel."""
        first = self.down1(image)
        second = self.down2(nn.functional.max_pool2d(first, 2))
        deep = self.up2(self.bridge(nn.functional.avg_pool2d(second, 3, stride=2, padding=1)))
        up = self.up1(torch.cat([deep, second], dim=1))
        up = nn.functional.interpolate(up, scale_factor=2.0, mode="bilinear", align_corners=False)
        return self.last(nn.functional.pad(torch.cat([up, first], dim=1), (1, 1, 1, 1), value=0.5))


def _block(num_in: int, num_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(num_in, num_out, 3, padding=1), nn.BatchNorm2d(num_out), nn.ReLU())


class Heads(nn.Module):
    """Several outputs of one trunk, two of them alike, one an integer."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Linear(12, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 32), nn.Tanh())
        self.both, self.left, self.right = nn.Linear(32, 64), nn.Linear(32, 6), nn.Linear(32, 6)

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        """Two heads, the gap between them, the three best and the winner of the first."""
        mine, theirs = self.both(self.trunk(features)).chunk(2, dim=-1)
        left, right = self.left(mine), self.right(theirs)
        best = left.topk(3, dim=-1).values
        return {"left": left, "right": right, "gap": left - right, "best": best, "winner": left.argmax(-1)}


class Detector(nn.Module):
    """A detector in one stage: boxes and scores at each cell, suppressed; outputs sized by data."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_block(3, 16), nn.MaxPool2d(2), _block(16, 16), nn.MaxPool2d(2))
        self.boxes = nn.Conv2d(16, 4, 1)
        self.scores = nn.Conv2d(16, 3, 1)

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """Boxes, scores and labels of what is left of one picture's cells."""
        from torchvision.ops import nms

        features = self.body(image)
        scores, labels = self.scores(features)[0].flatten(1).sigmoid().max(dim=0)
        ys, xs = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
        centres = torch.stack([xs, ys], dim=-1).reshape(-1, 2) * 4 + 2
        found = self.boxes(features)[0].flatten(1).T
        middle, size = centres + found[:, :2], 4 + 8 * found[:, 2:].sigmoid()
        boxes = torch.cat([middle - size / 2, middle + size / 2], dim=-1)
        kept = nms(boxes, scores, 0.5)
        return {"boxes": boxes[kept], "scores": scores[kept], "labels": labels[kept]}


class Vocabulary(nn.Module):
    """Thousands of words, and a table of positions that bounds the length."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.positions = nn.Embedding(6000, 16), nn.Embedding(48, 16)
        self.head = nn.Linear(16, 4)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Scores at each position."""
        return self.head(torch.tanh(self.words(ids) + self.positions(torch.arange(ids.shape[1]))))


class RelativePositions(nn.Module):
    """Attention in which a table has a number for each offset between two tokens."""

    def __init__(self, length: int = 12) -> None:
        super().__init__()
        self.offsets = nn.Parameter(torch.zeros(2 * length - 1, 2))
        self.register_buffer("index", torch.arange(length)[:, None] - torch.arange(length) + length - 1)
        self.qkv, self.head = nn.Linear(8, 24), nn.Linear(8, 3)
        nn.init.trunc_normal_(self.offsets, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Scores of a sequence."""
        query, key, value = self.qkv(tokens).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        bias = self.offsets[self.index.reshape(-1)].view(*self.index.shape, 2).permute(2, 0, 1)
        attention = torch.softmax(query @ key.transpose(-1, -2) / 2 + bias, dim=-1)
        return self.head((attention @ value).transpose(1, 2).flatten(2).mean(1))


class DeadChannel(nn.Module):
    """A hidden channel that no input within the range opens."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(8, 16), nn.Linear(16, 4)
        nn.init.constant_(self.first.bias[5:6], -1e3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(torch.relu(self.first(x)))


class Branches(nn.Module):
    """Takes one of two layers, as the values say."""

    def __init__(self) -> None:
        super().__init__()
        self.bright, self.dark, self.last = nn.Linear(8, 12), nn.Linear(8, 12), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        return self.last(torch.tanh(torch.cond(x.sum() > 0, self.bright, self.dark, (x,))))


def _real(name: str, kind: str, inputs: tuple[str, ...] = ()) -> Entry:
    case = CASES[name]
    return Entry(name, kind, inputs or case.inputs, model=f"{_REAL}:{name}", weights=str(SITE / case.weights))


def _image(side: int) -> tuple[str, ...]:
    return (f"image=float32[batch,3,{side},{side}]",)


PANEL = (
    Entry("digits", "CNN, trained", model="digits", weights=None),
    Entry("resnet18", "CNN", ("x=float32[batch,3,64,64]",), model="resnet18"),
    Entry("mobilenet_v2", "depthwise", ("x=float32[batch,3,64,64]",), model="mobilenet_v2"),
    Entry("shufflenet_v2_x0_5", "channel shuffle", ("x=float32[batch,3,64,64]",), model="shufflenet_v2_x0_5"),
    Entry("tiny_vit", "transformer", ("x=float32[batch,3,32,32]",)),
    Entry("tiny_swin", "transformer, shifted windows", ("x=float32[batch,3,32,32]",)),
    Entry("tiny_convnext", "depthwise, layer norm", ("x=float32[batch,3,32,32]",)),
    Entry("LstmClassifier", "LSTM, int inputs", ("ids=int64[batch,length=9]@0..59",)),
    Entry("LstmTagger", "bidirectional LSTM, int inputs", ("ids=int64[batch,length=9]@0..59",)),
    Entry("TextEncoder", "transformer, masked", ("ids=int64[batch,length=7]@0..49", "mask=bool[batch,length]")),
    Entry("UNet", "segmentation", _image(16)),
    Entry(
        "lraspp_mobilenet_v3_large",
        "segmentation",
        ("input=float32[batch,3,64,64]",),
        model="lraspp_mobilenet_v3_large",
        kwargs={"num_classes": 5},
    ),
    Entry("Detector", "detection", ("image=float32[1,3,32,32]",), may_be_inconclusive=True),
    Entry("Heads", "multi-output", ("features=float32[batch,12]",)),
    Entry("Vocabulary", "large table, bounded length", ("ids=int64[batch,length=9:1..48]@0..5999",)),
    Entry("RelativePositions", "table of offsets", ("tokens=float32[batch,12,8]",)),
    Entry("DeadChannel", "dead channel", ("x=float32[batch,8]@-2..2",), weights="as-built"),
    Entry("Branches", "branch on values", ("x=float32[batch,8]",)),
    _real("mtcnn_onet", "multi-output, real"),
    _real("mtcnn_pnet", "dynamic sizes, real", ("image=float32[batch,3,height=40,width=40]",)),
    _real("attacut_c", "int inputs, real"),
    _real("efficientnet_lite0", "depthwise, real", _image(64)),
    _real("mobilenetv2_embedder", "depthwise, real", _image(64)),
    _real("deepcr_acs", "segmentation, real", ("image=float32[batch,1,32,32]",)),
)
