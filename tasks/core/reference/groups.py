"""Which outputs of a module are sized by data, and which of them describe the same items."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.arrays import Array


@dataclass(frozen=True)
class Group:
    """Outputs that describe the same items, by index."""

    outputs: tuple[int, ...]
    boxes: int | None = None
    scores: int | None = None
    labels: int | None = None


def groups_of(names: Sequence[str], first: list[Array], second: list[Array]) -> tuple[Group, ...]:
    """Group the outputs of a module some of whose operators give results sized by data.

    Args:
        names: of the outputs.
        first: the module's answer to one input.
        second: to another input of equal shape.
    """
    by_size: dict[tuple[object, ...], list[int]] = {}
    prefixes = sorted({name.rpartition("_")[0] for name in names}, key=len)
    for index, (name, a, b) in enumerate(zip(names, first, second, strict=True)):
        # keypoints_scores stands beside keypoints and boxes, but 0_boxes beside 0_scores only
        prefix = next(prefix for prefix in prefixes if not prefix or name.startswith(f"{prefix}_"))
        if a.ndim and b.ndim:
            by_size.setdefault((prefix, len(a), len(b)), []).append(index)
    groups = []
    for (_, num_first, num_second), indices in by_size.items():
        group = _roles(tuple(indices), first)
        if num_first != num_second or (group.boxes is not None and group.scores is not None):
            groups.append(group)
    return tuple(groups)


def _roles(outputs: tuple[int, ...], answer: list[Array]) -> Group:
    """Which output holds boxes, which scores, which classes: by dtype and shape."""

    def first(kind: str, *shape: int) -> int | None:
        fitting = (i for i in outputs if answer[i].dtype.kind in kind and answer[i].shape[1:] == shape)
        return next(fitting, None)

    return Group(outputs, boxes=first("f", 4), scores=first("f"), labels=first("iu"))


def length(group: Group, answer: list[Array]) -> int:
    """Number of items.

    Args:
        group: which outputs describe the items.
        answer: a run's outputs.
    """
    return len(answer[group.outputs[0]])
