"""Hooks that transformers sets on a model's parts when it first runs, to collect what they give."""

from torch import nn


def settle_hooks(module: nn.Module) -> None:
    """Set them now, on every model of transformers that a module is or has.

    A run that is undone takes the mark away by which transformers knows that they are there, and not the hooks: the
    next one would set them again, and collect each layer's states twice.

    Args:
        module: built, of any family.
    """
    from transformers import PreTrainedModel
    from transformers.utils.output_capturing import maybe_install_capturing_hooks

    for part in module.modules():  # the outer ones first: they know which hooks the inner ones need
        if isinstance(part, PreTrainedModel):
            maybe_install_capturing_hooks(part)
