"""Scales, zero points and weights of a quantised file that are off by themselves, told from what the proven file has.

A weight is compared with the proven file's, the grid of an activation with the values that it has on the samples; what
is several times coarser than this precision has to be is repaired, and the error measured again. Only what a repair
betters counts: a file may have other weights on purpose.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import numpy_helper

from tasks.core.arrays import Array, rms
from tasks.core.errors import ExportError
from tasks.core.records.variants import Suspect
from tasks.core.runtime import sessions
from tasks.core.variants.data import Batch
from tasks.core.variants.ideal import rounded_by_channel
from tasks.core.variants.running import Outputs, answers, relative_error

SUSPECT = 1.25
"""Error of one weight or activation by itself, as a multiple of the least; good conversions gave up to 1.2, mostly."""
GROSS = 4.0
"""Likewise; where there is such a one, the finer ones are left alone."""
_ALIKE = 0.5
"""Relative error up to which a weight of another name is the same one."""
_MAX_UINT8, _MAX_INT8 = 255, 127


@dataclass(frozen=True)
class _Grid:
    """Where values are quantised."""

    scale: str
    zero_point: str
    values: tuple[str, ...]
    """Names of what is quantised so."""


def repaired(
    source: onnx.ModelProto, file: bytes, batch: Batch, *, wanted: Outputs, by_channel: bool
) -> tuple[tuple[Suspect, ...], float, float]:
    """Find what is off by itself, worst first, and what repairing all of it would leave of the error.

    Args:
        source: the proven file.
        file: the variant, quantised.
        batch: few samples.
        wanted: the proven file's outputs for them.
        by_channel: weights were to have one scale a channel.

    Returns:
        The suspects, and the relative errors before and after.
    """
    model = onnx.load_from_string(file)
    parts = [*_weights(source, model, by_channel=by_channel), *_grids(source, model, batch)]
    limit = GROSS if any(not suspect.ratio <= GROSS for suspect, _ in parts) else SUSPECT
    suspects = [suspect for suspect, _ in parts if not suspect.ratio <= limit]
    if not suspects:
        return (), 0.0, 0.0
    for suspect, tensors in parts:
        if not suspect.ratio <= limit:
            _put(model, tensors)
    before = relative_error(list(answers(file, [batch], level="off")), [wanted])
    after = relative_error(list(answers(model.SerializeToString(), [batch], level="off")), [wanted])
    return tuple(sorted(suspects, key=lambda suspect: -suspect.ratio)), before, after


def _weights(
    source: onnx.ModelProto, model: onnx.ModelProto, *, by_channel: bool
) -> Iterator[tuple[Suspect, dict[str, Array]]]:
    """Each quantised weight, with the float values that it should have."""
    known = {t.name: numpy_helper.to_array(t) for t in source.graph.initializer if len(t.dims) > 1}
    known |= {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t)
        for node in source.graph.node
        if node.op_type == "Constant" and node.attribute[0].name == "value" and len(node.attribute[0].t.dims) > 1
    }
    known |= {f"{name}, turned": array.T for name, array in known.items() if array.ndim == 2}  # a Gemm as a MatMul
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    yield from _integer_weights(model, tensors, known)
    for node in model.graph.node:
        if node.op_type != "DequantizeLinear" or node.input[0] not in tensors or tensors[node.input[0]].ndim < 2:
            continue
        axis = next((a.i for a in node.attribute if a.name == "axis"), 1)
        found = _dequantised(tensors, node.input, axis=axis)
        weight = _same(node.input[0].removesuffix("_quantized"), found, known)
        if weight is None or weight.dtype != np.float32:
            continue
        axis = axis if tensors[node.input[1]].size > 1 else 0
        if by_channel and weight.size > weight.shape[axis]:  # else each value would have a scale of its own
            least = rounded_by_channel(weight, axis=axis)
        else:
            least = rounded_by_channel(weight.reshape(1, -1), axis=0).reshape(weight.shape)
        ratio = _ratio(rms(found - weight), rms(least - weight))
        yield Suspect(name=node.input[0], kind="weight", ratio=ratio), {node.output[0]: least}


def _integer_weights(
    model: onnx.ModelProto, tensors: Mapping[str, Array], known: Mapping[str, Array]
) -> Iterator[tuple[Suspect, dict[str, Array]]]:
    """Weights of operators on integers, which have one scale beside them, named alike."""
    for node in model.graph.node:
        if node.op_type not in ("MatMulInteger", "ConvInteger") or node.input[1] not in tensors:
            continue
        name = node.input[1].removesuffix("_quantized")
        names = [node.input[1], f"{name}_scale", f"{name}_zero_point"]
        if not tensors.keys() >= set(names) or tensors[names[1]].size != 1:
            continue
        found = _dequantised(tensors, names, axis=0)
        weight = _same(name, found, known)
        if weight is None or tensors[names[0]].dtype != np.int8:
            continue
        scale = np.float32(max(float(np.abs(weight).max()), 1e-30) / _MAX_INT8)
        steps = np.round(weight / scale).astype(np.int8)
        suspect = Suspect(name=names[0], kind="weight", ratio=_ratio(rms(found - weight), rms(steps * scale - weight)))
        zero = np.zeros(tensors[names[2]].shape, np.int8)
        yield suspect, {names[0]: steps, names[1]: np.full(tensors[names[1]].shape, scale), names[2]: zero}


def _grids(source: onnx.ModelProto, model: onnx.ModelProto, batch: Batch) -> Iterator[tuple[Suspect, dict[str, Array]]]:
    """Each grid of activations, with the scale and zero point that the samples ask for."""
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    users: dict[tuple[str, str], list[str]] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear" and len(node.input) > 2 and tensors.keys() >= set(node.input[1:3]):
            users.setdefault((node.input[1], node.input[2]), []).append(node.input[0])
    values = _values(source, batch, {name for names in users.values() for name in names})
    for (scale_name, zero_name), names in users.items():
        scale, zero = tensors[scale_name], tensors[zero_name]
        found = np.concatenate([values[name].ravel() for name in names if name in values] or [np.zeros(0)])
        if scale.size != 1 or zero.dtype not in (np.uint8, np.int8) or not found.size or not np.isfinite(found).all():
            continue
        lowest = 0 if zero.dtype == np.uint8 else -128
        low, high = min(float(found.min()), 0.0), max(float(found.max()), 0.0)
        if high == low:
            continue
        best = np.float32((high - low) / _MAX_UINT8)
        middle = zero.dtype.type(np.clip(round(lowest - low / best), lowest, lowest + _MAX_UINT8))
        errors = [
            rms(_rounded(found, scale=float(s.reshape(())), zero=int(z.reshape(())), lowest=lowest) - found)
            for s, z in ((scale, zero), (best, middle))
        ]
        suspect = Suspect(name=names[0], kind="activation", ratio=_ratio(*errors))
        yield (
            suspect,
            {scale_name: np.array(best).reshape(scale.shape), zero_name: np.array(middle).reshape(zero.shape)},
        )


def _values(source: onnx.ModelProto, batch: Batch, names: set[str]) -> dict[str, Array]:
    """Inputs, outputs and what lies between, of the proven file, by name."""
    watched = onnx.ModelProto()
    watched.CopyFrom(source)
    outputs = {value.name for value in source.graph.output}
    inner = [name for node in source.graph.node for name in node.output if name in names - outputs]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    try:
        (found,) = sessions.answers(watched.SerializeToString(), [batch.arrays], level="off")
    except sessions.SessionError as error:
        raise ExportError(f"The values between the nodes can't be watched: {error}") from error
    known = dict(zip([value.name for value in watched.graph.output], found, strict=True)) | dict(batch.arrays)
    return {name: array for name, array in known.items() if name in names and array.dtype.kind == "f"}


def _rounded(values: Array, *, scale: float, zero: int, lowest: int) -> Array:
    steps = np.clip(np.round(values / scale) + zero, lowest, lowest + _MAX_UINT8)
    return np.asarray((steps - zero) * scale)


def _dequantised(tensors: Mapping[str, Array], names: Sequence[str], *, axis: int) -> Array:
    steps, scale = tensors[names[0]].astype(np.float64), tensors[names[1]].astype(np.float64)
    zero = tensors[names[2]].astype(np.float64) if len(names) > 2 and names[2] else np.zeros_like(scale)
    if scale.size == 1:
        return np.asarray((steps - zero.reshape(())) * scale.reshape(()))
    shape = [-1 if index == axis % steps.ndim else 1 for index in range(steps.ndim)]
    return np.asarray((steps - zero.reshape(shape)) * scale.reshape(shape))


def _same(name: str, found: Array, known: Mapping[str, Array]) -> Array | None:
    """The proven file's weight of that name, else the one that is most alike."""
    if name in known and known[name].shape == found.shape:
        return known[name]
    alike = [weight for weight in known.values() if weight.shape == found.shape and weight.dtype == np.float32]
    best = min(alike, key=lambda weight: rms(found - weight), default=None)
    return best if best is not None and rms(found - best) <= _ALIKE * rms(best) else None


def _put(model: onnx.ModelProto, tensors: Mapping[str, Array]) -> None:
    """Set constants; where a node computed one, it goes."""
    nodes = [node for node in model.graph.node if not any(name in tensors for name in node.output)]
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in tensors]
    for field, values in (("node", nodes), ("initializer", kept)):
        model.graph.ClearField(field)
        getattr(model.graph, field).extend(values)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in tensors.items())


def _ratio(found: float, least: float) -> float:
    if found == 0:
        return 0.0
    return found / least if least > 0 else np.inf
