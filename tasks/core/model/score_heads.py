"""Calibrate the score heads of a detector with random weights: some boxes, not none and not the maximum."""

import math
from statistics import median_high
from typing import Any

import torch
from torch import nn

from tasks.core.model.activation_origins import Op, OriginRecorder, parameters_of

_SCORE_SPREAD = 1.0
"""Standard deviation of detection score logits. Much more, and the best scores round to 1: which of two equal
scores comes first is then a matter of the kernel, and with it which box suppresses the other."""
NUM_CANDIDATES = 64
"""Pairs of place and class an image that pass the threshold at first, before those that overlap are suppressed."""
NUM_BOXES, MIN_BOXES, MAX_BOXES = 40, 15, 80
"""Boxes of the middle image: other images have some, too, and few reach torchvision's caps of 100 to 300."""
_MIN_SLOPE = 0.1
"""Least power of a class's probability that a score can be."""


def num_detections(outputs: Any) -> list[int]:
    """Count boxes by image, if this is what a detector returns."""
    images = outputs if isinstance(outputs, list) else []
    return [len(image["scores"]) for image in images if isinstance(image, dict) and {"boxes", "scores"} <= set(image)]


def next_num_candidates(counts: list[int], num_candidates: int) -> int | None:
    """Choose how many candidates an image to try next; None: the boxes found will do.

    Args:
        counts: boxes found, by image.
        num_candidates: candidates an image that gave them.
    """
    middle = median_high(counts)
    if MIN_BOXES <= middle <= MAX_BOXES and min(counts):
        return None
    if middle == max(counts) > MAX_BOXES:
        return max(1, num_candidates // 8)  # full lists, which do not say how many more there were
    return max(1, min(num_candidates * 4, num_candidates * NUM_BOXES // max(middle, 1)))


def calibrate_scores(recorder: OriginRecorder, outputs: list[dict[str, torch.Tensor]], num_wanted: int) -> None:
    """Spread the score logits, and shift them so that `num_wanted` pairs of place and class pass the threshold.

    The median image decides: one of extreme values may have no end of them.

    Args:
        recorder: the recorder of the run.
        outputs: what the detector gave, an image each.
        num_wanted: pairs of place and class an image.
    """
    by_image = [_score_ops(recorder.op_of(image["scores"])) for image in outputs]
    heads: dict[frozenset[nn.Parameter], list[Op]] = {}
    for op in dict.fromkeys(op for ops in by_image for op in ops):
        heads.setdefault(frozenset(parameters_of(op.inputs[0], set())), []).append(op)
    if not heads:
        return
    # Where scores are a product (FCOS: class times centerness) the largest head decides.
    parameters, ops = max(heads.items(), key=lambda head: sum(_logits(op).numel() for op in head[1]))
    is_softmax, num_classes = ops[0].name == "_softmax", _logits(ops[0]).shape[-1]
    biases = [recorder.stored[parameter] for parameter in parameters if parameter.ndim == 1]
    num_channels = _num_channels(biases, [_logits(op) for op in ops])
    # Else a channel passes at nearly all places of one picture and at none of the next.
    offsets = _rounded(torch.cat([_logits(op).reshape(-1, num_channels) for op in ops]).mean(0))
    images = [
        (image.reshape(-1, num_channels) - offsets).view(-1, num_classes if is_softmax else 1)
        for image in _logits_by_image(by_image, ops)
    ]
    # of several classes that exclude each other only their distances count
    apart = [image - image.mean(1, keepdim=True) if image.shape[1] > 1 else image for image in images]
    factor = 2.0 ** round(math.log2(_SCORE_SPREAD / median_high([float(values.std()) for values in apart])))
    threshold = _probability_at_threshold(recorder, ops)
    reaches = [_reach(image * factor, threshold).flatten() for image in images]
    shift = median_high([float(_rounded(reach.topk(min(num_wanted, len(reach))).values[-1])) for reach in reaches])
    for parameter in parameters:
        stored = recorder.stored[parameter].mul_(factor)
        if stored.ndim == 1:
            stored.view(-1, num_channels).sub_(offsets * factor)
            if is_softmax:
                stored.view(-1, num_classes)[:, 0] += shift
            else:
                stored -= shift
    recorder.num_rescaled += 1


def _num_channels(biases: list[torch.Tensor], logits: list[torch.Tensor]) -> int:
    """What a head gives at a place: each class, and where one head serves all places, each with each anchor."""
    per_place = [biases[0].numel()] if len(biases) == 1 else []
    for num_channels in (*per_place, logits[0].shape[-1]):
        if all(tensor.numel() % num_channels == 0 for tensor in (*biases, *logits)):
            return num_channels
    return 1


def _logits(op: Op) -> torch.Tensor:
    """Channels last, also of a plain convolution's."""
    assert op.logits is not None
    return op.logits.movedim(1, -1) if op.logits.ndim == 4 else op.logits


def _logits_by_image(by_image: list[list[Op]], ops: list[Op]) -> list[torch.Tensor]:
    """The logits of each image: of operators of its own, or its share of one that runs on all images."""
    own = [[op for op in image if op in ops] for image in by_image]
    if own[0] and own[0][0] in own[-1]:
        rows = torch.cat([_logits(op).flatten(0, -2) for op in ops])
        return list(rows[: len(rows) // len(own) * len(own)].chunk(len(own)))
    return [torch.cat([_logits(op).flatten() for op in image]) for image in own]


def _rounded(value: torch.Tensor) -> torch.Tensor:
    """To 1/256, as the last bits of sums differ with the alignment of memory."""
    return (value * 256).round() / 256


def _probability_at_threshold(recorder: OriginRecorder, ops: list[Op]) -> float:
    """What a head must give for a score to reach the threshold that it is held against.

    FCOS compares the root of class times centerness: near enough a power of the class's probability, times a number.
    """
    pairs = [
        (torch.sigmoid(op.logits).log().flatten(), values.log().flatten())
        for compared, values in recorder.compared
        for op in _score_ops(compared)
        if op in ops and op.logits is not None and op.logits.numel() == values.numel()
    ]
    if not pairs:
        return recorder.score_threshold
    own, score = (torch.cat(column) for column in zip(*pairs, strict=True))
    slope = float(((own - own.mean()) * (score - score.mean())).mean() / own.var(correction=0))
    if not _MIN_SLOPE < slope < 1 / _MIN_SLOPE:
        return recorder.score_threshold  # values in another order
    at_threshold = float(own.mean()) + (math.log(recorder.score_threshold) - float(score.mean())) / slope
    return min(math.exp(at_threshold), 0.99)


def _reach(logits: torch.Tensor, threshold: float) -> torch.Tensor:
    """By how much each score may be shifted down before it falls below the threshold.

    Of a softmax, whose class 0 is the background, that much can be added to the background's logit.
    """
    if logits.shape[1] == 1:
        return logits - math.log(threshold / (1 - threshold))
    classes = logits[:, 1:] - logits[:, :1]
    others = classes.exp().sum(1, keepdim=True)
    return torch.log((classes.exp() / threshold - others).clamp_min(1e-30))


def _score_ops(op: Op) -> list[Op]:
    """Find the softmax or sigmoid operators that `op` comes from, the last on each way."""
    seen, waiting = {op: None}, [op]
    while waiting:
        here = waiting.pop()
        if here.logits is None:
            new = [parent for parent in here.inputs if parent.depends_on_input and parent not in seen]
            seen |= dict.fromkeys(new)
            waiting += new
    return [here for here in seen if here.logits is not None]
