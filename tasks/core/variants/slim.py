"""A simplified graph of the same function, by onnxslim."""

import onnx

from tasks.core.errors import SpecError
from tasks.core.variants.making import Recipe


def make(model: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
    """Simplify it; a SpecError where onnxslim is not installed.

    Args:
        model: a copy of the proven file, which may be changed.
        recipe: of the variant.
    """
    try:
        import onnxslim
    except ImportError as error:
        raise SpecError("The variant slim needs onnxslim: pip install onnxslim.") from error
    slim: onnx.ModelProto = onnxslim.slim(model)
    return slim


def candidates(model: onnx.ModelProto) -> list[str]:
    """None: nothing gets a lower precision."""
    return []
