"""Values on the way that are rounded; rounded weights are with the weights."""

import numpy as np
import onnx_ir as ir

from tests.mutations.places import Mutations, float_nodes
from tests.mutations.sites import Site

MUTATIONS = Mutations()


@MUTATIONS.enter("precision", float_nodes)
def activations_in_float16(site: Site) -> bool:
    """A cast to half precision and back."""
    steps = (("Cast", (), {"to": int(dtype)}) for dtype in (ir.DataType.FLOAT16, ir.DataType.FLOAT))
    return site.route(site.node.outputs[0], *steps)


@MUTATIONS.enter("precision", float_nodes)
def activations_in_8_bits(site: Site) -> bool:
    """Quantised and dequantised, without clipping."""
    step = np.asarray(1 / 16, dtype=np.float32)
    return site.route(site.node.outputs[0], ("Div", (step,), {}), ("Round", (), {}), ("Mul", (step,), {}))
