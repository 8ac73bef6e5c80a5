"""Bring the score heads of a detector alive: some boxes, not none and not the maximum."""

import math
from typing import Any

import torch
from torch import nn

from tasks.core.activation_origins import Op, Watch, parameters_of

SCORE_SPREAD = 1.0
"""Standard deviation of detection score logits. Much more, and the best scores round to 1: which of two equal
scores comes first is then a matter of the kernel, and with it which box suppresses the other."""

NUM_CANDIDATES = 100
"""Pairs of place and class an image that pass the threshold at first, before those that overlap are suppressed."""
NUM_BOXES, MIN_BOXES, MAX_BOXES = 50, 25, 80
"""Boxes of the middle image: other images have some, too, and few reach torchvision's caps of 100 to 300."""


def num_detections(outputs: Any) -> list[int]:
    """Count boxes by image, if this is what a detector returns."""
    images = outputs if isinstance(outputs, list) else []
    found = [image for image in images if isinstance(image, dict) and {"boxes", "scores"} <= set(image)]
    return [len(image["scores"]) for image in found]


def next_num_candidates(counts: list[int], num_candidates: int) -> int | None:
    """Candidates an image to try next, from the boxes that these many gave; None: they will do."""
    middle = sorted(counts)[len(counts) // 2]
    if MIN_BOXES <= middle <= MAX_BOXES and min(counts):
        return None
    if min(counts) == max(counts) > MAX_BOXES:
        return max(1, num_candidates // 8)  # full lists, which do not say how many more there were
    return max(1, min(num_candidates * 4, num_candidates * NUM_BOXES // max(middle, 1)))


def mend_scores(watch: Watch, outputs: list[dict[str, torch.Tensor]], num_wanted: int) -> None:
    """Spread the score logits, and shift them so that `num_wanted` pairs of place and class pass the threshold."""
    heads: dict[frozenset[nn.Parameter], dict[Op, torch.Tensor]] = {}
    for op in [op for image in outputs for op in _score_ops(watch.op_of(image["scores"]))]:
        assert op.logits is not None
        heads.setdefault(frozenset(parameters_of(op.inputs[0], set())), {})[op] = op.logits
    if not heads:
        return
    # Where scores are a product (FCOS: class times centerness) the largest head decides.
    parameters, found = max(heads.items(), key=lambda head: sum(map(torch.numel, head[1].values())))
    is_softmax = next(iter(found)).name == "_softmax"
    num_classes = next(iter(found.values())).shape[-1] if is_softmax else 1
    logits = torch.cat([value.reshape(-1, num_classes) for value in found.values()])
    apart = logits - logits.mean(1, keepdim=True) if is_softmax else logits
    factor = 2.0 ** round(math.log2(SCORE_SPREAD / float(apart.std())))
    reach = _reach(logits * factor, watch.score_threshold).flatten()
    shift = round(float(reach.topk(min(num_wanted, len(reach))).values[-1]) * 256) / 256
    for parameter in parameters:
        stored = watch.stored[parameter].mul_(factor)
        if stored.ndim == 1 and is_softmax:
            stored.view(-1, num_classes)[:, 0] += shift
        elif stored.ndim == 1:
            stored -= shift
    watch.num_mended += 1


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
            new = [parent for parent in here.inputs if parent.live and parent not in seen]
            seen |= dict.fromkeys(new)
            waiting += new
    return [here for here in seen if here.logits is not None]
