"""Does a module take the same way in each run? A fused kernel, or code that looks at a dtype, makes it take another."""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from tasks.core.arrays import Array, eps_of, error_of, ratio, rms
from tasks.core.forward.hooks import hookable_modules
from tasks.core.forward.outputs import flatten
from tasks.core.limits import NOISE_OF_SCALE, UNEXPLAINED, UNSTABLE_LIMIT

_MASKS = {"key_padding_mask": 3, "attn_mask": 5}
"""Arguments of nn.MultiheadAttention that hide positions, and where they stand."""
_NO_ARITHMETIC = {"_to_copy", "alias", "clone", "copy_", "detach", "empty", "empty_like", "lift_fresh", "scalar_tensor"}
"""Operators that casts and copies are made of, which another dtype may need or not."""

Run = Callable[[], Any]
"""Runs a module once, and gives what it returns."""


@contextlib.contextmanager
def attention_masks(network: nn.Module) -> Iterator[list[str]]:
    """Within this context the paths of attention layers that are given a mask are noted.

    With a mask PyTorch's fused kernels may answer otherwise than its operators: padded positions are dropped.
    """
    found: list[str] = []

    def noting(path: str) -> Any:
        def note(_: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
            given = [kwargs.get(name, args[at] if len(args) > at else None) for name, at in _MASKS.items()]
            if any(mask is not None for mask in given):
                found.append(path)

        return note

    with contextlib.ExitStack() as stack:
        for path, module in network.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                stack.callback(module.register_forward_pre_hook(noting(path), with_kwargs=True).remove)
        yield found


def _outermost_attention(network: nn.Module, path: str) -> str:
    """Path and class of the largest of PyTorch's own blocks around an attention layer.

    Args:
        network: the module.
        path: of the layer.
    """
    words = path.split(".")
    around = [".".join(words[:length]) for length in range(len(words) + 1)]
    kinds = (nn.TransformerEncoder, nn.TransformerEncoderLayer, nn.MultiheadAttention)
    found = next(name for name in around if isinstance(network.get_submodule(name), kinds))
    return _named(found, network.get_submodule(found))


def difference(before: Sequence[Array], after: Sequence[Array]) -> tuple[int, float]:
    """The output that differs most between two answers, and by how much of its scale; infinity for another shape.

    Args:
        before: one array an output; elements that are not finite in one of the two are left out.
        after: the same.
    """
    found = []
    for a, b in zip(before, after, strict=True):
        if a.shape != b.shape:
            found.append(float("inf"))
            continue
        both = np.isfinite(a) & np.isfinite(b)
        found.append(ratio(rms(a[both].astype(np.float64) - b[both]), rms(a[both])))
    index = max(range(len(found)), key=found.__getitem__)
    return index, found[index]


@dataclass(frozen=True)
class OwnError:
    """The error of float32 itself in one output, at one probe."""

    name: str
    """Of the output."""
    torch32: Array
    """The module's in float32."""
    float64: Array
    """The module's in float64."""
    moved: Sequence[Array]
    """The module's in float32, with inputs and weights off by one rounding."""

    @property
    def share_of_scale(self) -> float:
        """Root mean square of the error, as a share of that of the output."""
        return ratio(rms(error_of(self.torch32, self.float64)), rms(self.float64))

    def is_unbelievable(self, limit: float) -> bool:
        """Is it beyond a share of the scale, and no rare luck?

        Which of two nearly equal codes is the nearest is luck, for instance, and decides a whole row. Then few
        elements are far off, and runs that are off by one rounding have such elements, too.
        """
        if self.share_of_scale <= limit:
            return False
        far = limit * rms(self.float64)
        share = float(np.mean(np.abs(error_of(self.torch32, self.float64)) > far))
        shares = [float(np.mean(np.abs(error_of(other, self.torch32)) > far)) for other in self._alike]
        return share > UNSTABLE_LIMIT or max(shares, default=0.0) < share / max(len(shares), 1)

    @property
    def is_unexplained(self) -> bool:
        """Is it far beyond what one rounding of inputs and weights makes of the answers?"""
        spread = max((rms(error_of(other, self.torch32)) for other in self._alike), default=0.0)
        least = eps_of(self.torch32.dtype) * rms(self.float64)
        return rms(error_of(self.torch32, self.float64)) > UNEXPLAINED * max(spread, least)

    @property
    def _alike(self) -> list[Array]:
        return [other for other in self.moved if other.shape == self.torch32.shape]

    def hides(self, *, first: str, where: str) -> str:
        """The sentence for an unbelievable one.

        Args:
            first: path and class of the first module that differs; empty: none was found.
            where: family and sizes of the inputs.
        """
        return (
            f"an error of the file could hide in that of float32 itself, by which {self.name} is off by "
            f"{self.share_of_scale:.2g} of its scale ({where}), first in {first or 'forward itself'}; make forward the "
            f"same whatever the dtype, or give inputs on which it is stable with --sample"
        )

    def goes_another_way(self, *, first: str) -> str:
        """The sentence for one that other operators explain; `first`: path and class of the module that calls them."""
        return (
            f"the module calls other operators in float64 than in float32, first in {first}, and {self.name} is off "
            f"by {self.share_of_scale:.2g} of its scale, which no rounding explains; make forward the same whatever "
            f"the dtype"
        )


def noise_limit_of(network: nn.Module) -> float:
    """Share of the scale beyond which the error of a module's own arithmetic is not believed; more in half."""
    return max(NOISE_OF_SCALE, 4 * coarsest_eps(network))


def coarsest_eps(network: nn.Module) -> float:
    """Spacing at 1.0 of the coarsest dtype that a module has weights in; 0: it has none."""
    tensors = itertools.chain(network.parameters(), network.buffers())
    return max((eps_of(tensor.dtype) for tensor in tensors if tensor.is_floating_point()), default=0.0)


def first_module_apart(network: nn.Module, first: Run, second: Run) -> str:
    """Path and class of the module whose result is the first to differ between two runs; empty: none does.

    Args:
        network: the module that both run.
        first: one run.
        second: another one.
    """
    results: list[tuple[str, nn.Module, list[Array]]] = []
    for run in (first, second):
        with _results_noted(network) as found:
            run()
        if not results:
            results = found
            continue
        for (path, module, before), (other, _, after) in zip(results, found, strict=False):
            if path != other or [a.shape for a in before] != [a.shape for a in after]:
                return _named(path, module)
            if before and difference(before, after)[1] > NOISE_OF_SCALE:
                return _named(path, module)
    return ""


def first_operator_apart(first: Sequence[Any], second: Sequence[Any]) -> str:
    """Path and class of the module in which two runs begin to differ in their operators; empty: they call the same.

    Args:
        first: calls of a recorded run.
        second: calls of another one.
    """
    kept = [[call for call in calls if _operator(call.name) not in _NO_ARITHMETIC] for calls in (first, second)]
    for a, b in itertools.zip_longest(*kept):
        if a is None or b is None or (_operator(a.name), a.options) != (_operator(b.name), b.options):
            call = a or b
            return f"{call.module_path or 'forward itself'} ({call.module_class}, {call.source})"
    return ""


@contextlib.contextmanager
def _results_noted(network: nn.Module) -> Iterator[list[tuple[str, nn.Module, list[Array]]]]:
    """Within this context each module's path and results are noted as it ends."""
    found: list[tuple[str, nn.Module, list[Array]]] = []

    def noting(path: str) -> Any:
        def note(module: nn.Module, _: Any, output: Any) -> None:
            tensors = []
            with contextlib.suppress(Exception):  # an inner module may return what a file can't hold
                tensors = [tensor for _, tensor in flatten(output) if tensor.is_floating_point()]
            found.append((path, module, [tensor.detach().double().cpu().numpy().copy() for tensor in tensors]))

        return note

    with contextlib.ExitStack() as stack:
        for path, module in hookable_modules(network):
            stack.callback(module.register_forward_hook(noting(path)).remove)
        yield found


def _operator(name: str) -> str:
    return name.removeprefix("aten.").split(".")[0]


def _named(path: str, module: nn.Module) -> str:
    return f"{path or 'forward itself'} ({type(module).__name__})"


def fused_sentence(network: nn.Module, path: str, *, off: str) -> str:
    """How the module answers otherwise with PyTorch's fused attention, and what to do.

    Args:
        network: the module.
        path: of the attention layer in it that is given a mask.
        off: which output is off by how much, and where.
    """
    return (
        f"PyTorch's fused attention, which {_outermost_attention(network, path)} takes by itself, answers otherwise "
        f"than its operators, which are what a file has: {off}, as padded positions are dropped; build it with "
        f"enable_nested_tensor=False, or keep padded positions out of the outputs"
    )
