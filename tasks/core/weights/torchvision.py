"""torchvision's own weights, by the names that it gives them."""

from typing import Any

from tasks.core.errors import WeightsError
from tasks.core.spec.catalog import unknown_model


def weights_enum_member(model: str, name: str) -> Any:
    """The member of torchvision's weights enum: `DEFAULT`, `IMAGENET1K_V1`, `ResNet50_Weights.DEFAULT`.

    Raises:
        SpecError: there is no such model.
        WeightsError: it has no such weights.
    """
    from torchvision import models

    if model not in models.list_models():
        raise unknown_model(model, models.list_models())
    enum = models.get_model_weights(model)
    member = getattr(enum, name.rpartition(".")[2], None)
    if not isinstance(member, enum):
        known = ", ".join(m.name for m in enum)
        raise WeightsError(f"{model} has no weights {name!r}; torchvision has {known}, or give a file, URL or random.")
    if "backend" in member.meta:
        raise WeightsError(
            f"{model}'s weights {member.name} are int8 tensors for PyTorch's own kernels ({member.meta['backend']}), "
            f"which no exporter turns into ONNX; give --weights random, or export the float model by its own name."
        )
    return member
