"""What the outputs of a module are: number, dtypes, shapes, and groups sized by data, as boxes and their scores."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tasks.core.arrays import Array


def structural_failure(
    onnx: Sequence[Array],
    torch32: Sequence[Array],
    names: Sequence[str],
    *,
    sized_by_data: Collection[int] = (),
    left_out: Callable[[Array], Array] | None = None,
) -> str:
    """What differs in number, dtype, shape, NaN or Inf; empty where nothing does.

    Args:
        onnx: the file's answer, in the module's order.
        torch32: the module's answer.
        names: of the outputs.
        sized_by_data: indices of outputs that may have any number of items, which are matched elsewhere.
        left_out: tells elements of torch32 where the file may be anything; None: nowhere.
    """
    if len(onnx) != len(torch32):
        return f"the file has {len(onnx)} outputs, the module {len(torch32)}"
    for index, (name, found, wanted) in enumerate(zip(names, onnx, torch32, strict=True)):
        if found.dtype == object:
            return f"{name} is in the file what NumPy has no dtype for, {wanted.dtype} in PyTorch"
        if found.dtype != wanted.dtype:
            return f"{name} is {found.dtype} in the file, {wanted.dtype} in PyTorch"
        if index in sized_by_data and found.shape[1:] == wanted.shape[1:] and found.ndim == wanted.ndim:
            continue
        if found.shape != wanted.shape:
            return f"{name} has the shape {list(found.shape)} in the file, {list(wanted.shape)} in PyTorch"
        for what, test in (("NaN", np.isnan), ("Inf", np.isinf)) if found.dtype.kind == "f" else ():
            known = True if left_out is None else ~left_out(wanted)
            if not np.array_equal(test(found) & known, test(wanted) & known):
                return f"{name} has {test(found).sum()} {what} in the file, {test(wanted).sum()} in PyTorch"
    return ""


def without_nan(onnx: Sequence[Array], torch32: Sequence[Array], rows: Array) -> list[Array]:
    """Replace the NaN of a file by the module's values in rows of the batch where NaN misleads nobody.

    Args:
        onnx: the file's answer.
        torch32: the module's.
        rows: bool, one a row of the batch.
    """
    replaced = list(onnx)
    for index, (found, wanted) in enumerate(zip(onnx, torch32, strict=False)):
        if found.dtype.kind == "f" and found.shape == wanted.shape and found.shape[:1] == rows.shape:
            at = np.isnan(found) & rows.reshape(-1, *[1] * (found.ndim - 1))
            replaced[index] = np.where(at, wanted, found)
    return replaced


@dataclass(frozen=True)
class Group:
    """Outputs that describe the same items, by index."""

    outputs: tuple[int, ...]
    boxes: int | None = None
    scores: int | None = None
    labels: int | None = None

    def length(self, answer: list[Array]) -> int:
        """Number of items among a run's outputs."""
        return len(answer[self.outputs[0]])


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
