"""Bring the score heads of a detector alive: some boxes, not none and not the maximum."""

from typing import Any

import torch
from torch import nn

from tasks.core.activation_origins import Op, Watch, parameters_of

SCORE_SPREAD = 8.0
"""Standard deviation of detection score logits: few candidates then lie between surely yes and surely no."""

NUM_BOXES_WANTED, MAX_BOXES = 4, 90
"""Likely candidates an image to start from; boxes at most, below torchvision's caps of 100 to 300."""


def num_detections(outputs: Any) -> list[int]:
    """Count boxes by image, if this is what a detector returns."""
    images = outputs if isinstance(outputs, list) else []
    found = [image for image in images if isinstance(image, dict) and {"boxes", "scores"} <= set(image)]
    return [len(image["scores"]) for image in found]


def mend_scores(watch: Watch, outputs: list[dict[str, torch.Tensor]], num_wanted: int) -> None:
    """Spread the score logits, and shift them so that `num_wanted` candidates are likelier than not."""
    heads: dict[frozenset[nn.Parameter], dict[Op, torch.Tensor]] = {}
    for op in [op for image in outputs for op in _score_ops(watch.op_of(image["scores"]))]:
        assert op.logits is not None
        heads.setdefault(frozenset(parameters_of(op.inputs[0], set())), {})[op] = op.logits
    if not heads:
        return
    # Where scores are a product (FCOS: class times centerness) the largest head decides.
    parameters, found = max(heads.items(), key=lambda head: sum(map(torch.numel, head[1].values())))
    num_classes = next(iter(found.values())).shape[-1] if next(iter(found)).name == "_softmax" else 1
    logits = torch.cat([value.reshape(-1, num_classes) for value in found.values()])
    factor = 1.0
    while float(_margins(logits * factor).std()) < SCORE_SPREAD and factor < 2**20:
        factor *= 2
    margins = _margins(logits * factor)
    shift = round(float(margins.topk(min(num_wanted, len(margins))).values[-1]) * 256) / 256
    for parameter in parameters:
        stored = watch.stored[parameter].mul_(factor)
        if stored.ndim == 1 and num_classes > 1:
            stored.view(-1, num_classes)[:, 0] += shift
        elif stored.ndim == 1:
            stored -= shift
    watch.num_mended += 1


def _margins(logits: torch.Tensor) -> torch.Tensor:
    """Give by how much each candidate is likelier than not; class 0 of a softmax is the background."""
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1:].logsumexp(1) - logits[:, 0]


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
