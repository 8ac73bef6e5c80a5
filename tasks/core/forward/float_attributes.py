"""What a file in float64 can't hold in float64: ONNX's attributes are float32."""

from typing import Any

import numpy as np
import torch

from tasks.core.forward.operator_mode import OperatorMode


class FloatAttributes(OperatorMode):
    """Round the epsilon of norms in float64 as the attribute of a node does.

    A true file of a layer norm is off by 1e-13 for it, hundreds of times the rounding of float64.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: PLR0917
        schema = getattr(func, "_schema", None)
        names = [argument.name for argument in schema.arguments] if schema else []
        if "eps" in names[: len(args)] and args[0].dtype == torch.float64:
            args = [float(np.float32(arg)) if name == "eps" else arg for name, arg in zip(names, args, strict=False)]
        return self.call(func, args, kwargs)
