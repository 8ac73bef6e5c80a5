"""On which elements of its weights the answer of a module depends, and by how much, as its gradients say."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from tasks.core.arrays import Array
from tasks.core.forward.fixed_values import weights_of
from tasks.core.forward.outputs import flatten
from tasks.core.forward.precision import Args, Kwargs
from tasks.core.forward.switches import same_way, uncompiled


def run_for_gradients(
    model: nn.Module,
    args: Args,
    kwargs: Kwargs,
    *,
    names: Sequence[str],
    scales: Sequence[float],
    found: dict[str, Array],
) -> Any:
    """Call a module, and find out by how much its outputs move together where one element of a weight moves by 1.

    One backward pass with random signs estimates it for all elements at once.

    Args:
        model: any module.
        args: of forward.
        kwargs: of forward.
        names: of parameters and buffers.
        scales: the unit of each output, of its rms; 0 leaves an output out.
        found: gets an array in the shape of each weight of floats, by name.
    """
    tensors = weights_of(model)
    leaves = {name: tensors[name] for name in names if tensors[name].is_floating_point()}
    needed = {name: leaf.requires_grad for name, leaf in leaves.items()}
    generator = torch.Generator().manual_seed(0)
    try:
        for leaf in leaves.values():
            leaf.requires_grad_()
        with same_way(), uncompiled(), torch.enable_grad():
            answer = model(*args, **kwargs)
            total = torch.zeros((), dtype=torch.float64)
            for (_, output), scale in zip(flatten(answer), scales, strict=True):
                if scale and output.requires_grad:
                    signs = torch.randint(0, 2, output.shape, generator=generator) * 2 - 1
                    signed = torch.where(output.isfinite(), output, 0) * signs
                    total = total + signed.double().sum() / (scale * output.numel() ** 0.5)
            gradients: Sequence[torch.Tensor | None] = [None] * len(leaves)
            if total.requires_grad:
                gradients = torch.autograd.grad(total, list(leaves.values()), allow_unused=True)
    finally:
        for name, leaf in leaves.items():
            leaf.requires_grad_(needed[name])
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        found[name] = (torch.zeros_like(leaf) if gradient is None else gradient).detach().double().abs().numpy()
    return answer
