"""Files whose weights were rounded to integers, told by what they hold."""

from pathlib import Path

import onnx

from tasks.core.onnx_files.lazy_reading import read_without_weights
from tasks.core.onnx_files.operators import counts_in

_INTEGERS = {onnx.TensorProto.INT8: "int8", onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.INT4: "int4",
             onnx.TensorProto.UINT4: "uint4"}  # fmt: skip
_OPERATORS = ("DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearMatMul",
              "QLinearConv", "com.microsoft::MatMulNBits")  # fmt: skip


def quantised(path: Path) -> str:
    """A sentence on a file that is quantised; empty: it is none.

    Args:
        path: of an ONNX file.
    """
    proto = read_without_weights(path)
    kept = [tensor.data_type for tensor in proto.graph.initializer if len(tensor.dims) > 1]
    integers = [_INTEGERS[dtype] for dtype in kept if dtype in _INTEGERS]
    counts = counts_in(proto)
    found = [name for name in _OPERATORS if counts[name]]
    if not integers and not found:
        return ""
    weights = (
        f"{len(integers)} of its {len(kept)} weights are {' and '.join(sorted(set(integers)))}" if integers else ""
    )
    computed = f"it computes with {', '.join(found)}" if found else ""
    return (
        f"it is a quantised file ({', '.join(filter(None, [weights, computed]))}), whose answers are rounded ones: "
        "it can't compute what the model computes"
    )
