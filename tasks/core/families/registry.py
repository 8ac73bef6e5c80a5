"""The families of models, in the order in which they are asked whether a model is theirs."""

from tasks.core.families.family import Family
from tasks.core.families.python import PythonFamily
from tasks.core.families.timm import TimmFamily
from tasks.core.families.torchvision import TorchvisionFamily
from tasks.core.families.transformers import TransformersFamily

FAMILIES: tuple[Family, ...] = (
    TorchvisionFamily(),
    TransformersFamily(),
    TimmFamily(),
    PythonFamily(),  # takes any text with a colon: stays last
)
MODEL_SYNTAX = ", ".join(("catalog entry", *(family.syntax for family in FAMILIES)))


def family_of(model: object) -> Family:
    """Find the family of a MODEL text or live module, by its form; whether there is such a model is not asked.

    Raises:
        LookupError: no family recognises it.
    """
    for family in FAMILIES:
        if family.recognises(model):
            return family
    raise LookupError(model)
