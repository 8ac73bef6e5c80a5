"""What is seen while the probes of a proof are run; `verdict.judge` makes the evidence of it."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tasks.core.arrays import EPS32, Array, eps_of, error_of, rms
from tasks.core.inputs.probes import Probe
from tasks.core.proof.parity import ExactPool, FloatPool, OutputRuns
from tasks.core.records.evidence import BlockPower, Coverage

_TOP = 5
_MAX_CLASSES = 1024
"""Score maps with more channels are features, not classes."""


@dataclass
class TaskMetrics:
    """Agreement in the terms of a task: the top classes of a classifier, the masks of a segmenter."""

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


@dataclass
class ItemCount:
    """What became of the items of one group over one family, by the fields of `Detections`."""

    num_reference: int = 0
    num_matched: int = 0
    num_excused: int = 0
    num_unmatched: int = 0
    lowest_iou: float = 1.0
    first_unmatched: str = ""


@dataclass
class Observed:
    """What was seen of one output."""

    name: str
    pools: dict[str, FloatPool | ExactPool] = field(default_factory=dict)
    """Per family."""
    items: dict[str, ItemCount] = field(default_factory=dict)
    """Of outputs sized by data, per family; those that describe the same items share it."""
    metrics: TaskMetrics = field(default_factory=TaskMetrics)
    noise_rms: list[float] = field(default_factory=list)
    """Of torch32 against float64, a judged probe each."""
    eps: float = EPS32
    """Spacing of its dtype at 1.0."""
    movements: dict[str, float] = field(default_factory=dict)
    """Per family: change of the output between two inputs, as a multiple of its noise."""
    still_share: float = 1.0
    """Smallest share of elements that stay at the output's largest or smallest value between two inputs."""
    not_finite: dict[str, str] = field(default_factory=dict)
    """By judged family whose answers are not finite throughout: how many elements are NaN or overflow, and where."""
    num_elements: int = 0
    """Over the judged probes."""
    num_zeros: int = 0

    def observe(self, runs: OutputRuns, probe: Probe) -> None:
        """Note scale, noise, zeros, finiteness and task metrics of one answer of a judged family.

        Args:
            runs: the values.
            probe: what was answered.
        """
        torch32, float64 = runs.torch32, runs.float64
        is_float = torch32.dtype.kind == "f"
        self.num_elements += torch32.size
        if is_float or not self.items:  # a class of detected items may be zero
            self.num_zeros += int(np.count_nonzero(torch32 == 0))
        if is_float:
            self.eps = eps_of(torch32.dtype)
            # an infinity that float64 has, too, such as that of a banned logit, is an answer like any other
            if num := int((~np.isfinite(torch32) & ~(np.isinf(torch32) & (torch32 == float64))).sum()):
                where = f"{num} of {torch32.size} elements at {probe.sizes_in_words} ({probe.family} inputs)"
                self.not_finite.setdefault(probe.family, where)
                return
            self.noise_rms.append(rms(error_of(torch32, float64)))
        elif runs.batch_axis == 0 and not self.items and (torch32 != torch32[:1]).any():
            self.movements[probe.family] = math.inf  # one class for four inputs may be luck; rows of others differ
        self.metrics.add(runs)


@dataclass
class Observations:
    """What was seen of one file."""

    outputs: list[Observed]
    """In the module's order."""
    failures: list[str] = field(default_factory=list)
    """What is wrong with the file, a sentence each."""
    doubts: list[str] = field(default_factory=list)
    """Why nothing can be proven, one sentence each."""
    notes: list[str] = field(default_factory=list)
    compared: list[Probe] = field(default_factory=list)
    suspicious: dict[int, tuple[float, Probe]] = field(default_factory=dict)
    """Outputs whose error in float32 itself is large for rounding: by how much of the scale at most, and where."""
    skipped: list[tuple[Probe, str]] = field(default_factory=list)
    """Probes that were not, and why; empty: proving took too long."""
    blocks: list[BlockPower] = field(default_factory=list)
    coverage: Coverage | None = None
    """Of the weights; None: they could not be looked at."""
    floor: str = "float64"
    """What measured the noise."""
    failed_at: Probe | None = None
    """The probe at which structure or values were seen to be wrong."""
    first_answer: tuple[Array, ...] | None = None
    """The file's outputs for the first probe, in its own order; None: it was not run."""

    def note(self, text: str) -> None:
        """Say something once."""
        if text not in self.notes:
            self.notes.append(text)


def _classes(scores: Array, like: Array) -> Any:
    """The class of each pixel; of a lone map, whether it is above the middle of a probability or of a logit."""
    if scores.shape[1] > 1:
        return scores.argmax(axis=1)
    is_probability = float(like.min()) >= 0.0 and float(like.max()) <= 1.0
    return (scores[:, 0] > (0.5 if is_probability else 0.0)).astype(np.int64)
