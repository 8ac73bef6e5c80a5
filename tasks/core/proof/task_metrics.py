"""Agreement in the terms of a task: the top classes of a classifier, the masks of a segmenter."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.core.arrays import Array, rms
from tasks.core.proof.parity import OutputRuns

_TOP = 5
_MAX_CLASSES = 1024
"""Score maps with more channels are features, not classes."""


@dataclass
class TaskMetrics:
    """Agreement of one output over the judged probes; none for an output of another shape than such a task's."""

    num_rows: int = 0
    num_agreeing: int = 0
    flip_margin: float = 0.0
    top5_shares: list[float] = field(default_factory=list)
    shared_pixels: Counter[int] = field(default_factory=Counter)
    """Per class: number of pixels that both assign to it."""
    all_pixels: Counter[int] = field(default_factory=Counter)
    """Per class: number of pixels that at least one assigns to it."""

    def add(self, runs: OutputRuns) -> None:
        """Add one probe: scores [batch, classes] or score maps [batch, classes, height, width]."""
        torch32 = runs.torch32
        if torch32.dtype.kind != "f" or not torch32.size:
            return
        for answer in runs.onnx:
            if torch32.ndim == 2 and torch32.shape[1] > 1:
                self._add_scores(answer, torch32, runs.float64)
            elif torch32.ndim == 4 and torch32.shape[1] <= _MAX_CLASSES and torch32.shape[2] * torch32.shape[3] > 1:
                self._add_maps(answer, torch32)

    def result(self) -> dict[str, float]:
        """The figures by field of `OutputEvidence`, where there are any."""
        known: dict[str, float] = {}
        if self.num_rows:
            known |= {"top1_agreement": self.num_agreeing / self.num_rows, "top1_flip_margin": self.flip_margin}
        if self.top5_shares:
            known["top5_agreement"] = float(np.mean(self.top5_shares))
        if self.all_pixels:
            known["mask_iou"] = min(self.shared_pixels[c] / count for c, count in self.all_pixels.items())
        return known

    def _add_scores(self, onnx: Array, torch32: Array, float64: Array) -> None:
        rows = np.arange(len(torch32))
        found, wanted = onnx.argmax(axis=1), torch32.argmax(axis=1)
        margins = np.abs(float64[rows, wanted] - float64[rows, found]) / (rms(float64) or 1.0)
        self.num_rows += len(rows)
        self.num_agreeing += int((found == wanted).sum())
        self.flip_margin = max(self.flip_margin, float(margins.max()))
        if torch32.shape[1] > _TOP:
            tops = (np.argpartition(-scores, _TOP, axis=1)[:, :_TOP] for scores in (onnx, torch32))
            pairs = zip(*tops, strict=True)
            self.top5_shares.append(float(np.mean([len(np.intersect1d(a, b)) / _TOP for a, b in pairs])))

    def _add_maps(self, onnx: Array, torch32: Array) -> None:
        found, wanted = _classes(onnx, torch32), _classes(torch32, torch32)
        for label in np.union1d(found, wanted).tolist():
            a, b = found == label, wanted == label
            self.shared_pixels[label] += int((a & b).sum())
            self.all_pixels[label] += int((a | b).sum())


def _classes(scores: Array, like: Array) -> Any:
    """The class of each pixel; of a lone map, whether it is above the middle of a probability or of a logit."""
    if scores.shape[1] > 1:
        return scores.argmax(axis=1)
    is_probability = float(like.min()) >= 0.0 and float(like.max()) <= 1.0
    return (scores[:, 0] > (0.5 if is_probability else 0.0)).astype(np.int64)
