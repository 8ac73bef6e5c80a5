"""PyTorch's two exporters to ONNX, and what each is known to get wrong without saying so."""

import bisect
import contextlib
import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import onnx_ir as ir
import torch
from torch import nn

from tasks.core.errors import ExportError, Limits, NarrowedError
from tasks.core.export.scripted import PREFIX, has_script, traced
from tasks.core.forward.frozen_values import FrozenValues
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.probes import all_sizes, dynamic_dims
from tasks.core.inputs.sizes import traced_sizes
from tasks.core.onnx_files.cleaning import SIMPLIFY
from tasks.core.runtime.work_folders import work_folder
from tasks.core.spec.input_spec import InputSpec, derived_dims

_UNBOUNDED = 1_000_000_000
"""Least upper limit at which a dimension counts as unbounded."""


@dataclass(frozen=True)
class Exported:
    """The graph that an exporter made."""

    graph: ir.Model
    notes: tuple[str, ...] = ()
    """What a reader of the result should know."""
    branches: tuple[str, ...] = ()
    """Lines of the module's code, `file.py:LINE`, at which an input's values decided what was traced."""
    suspicious: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Sizes of dynamic dims that are to be proven, too."""


def _export_with_dynamo(model: nn.Module, inputs: Inputs, *, output_names: tuple[str, ...], opset: int) -> Exported:
    """Export by torch.export, which keeps module paths, and hold the sizes that it allows against those asked for."""
    if isinstance(model, torch.jit.ScriptModule):
        raise ExportError("dynamo takes no ScriptModule")
    args, kwargs = inputs.traced_arguments()
    dims = _export_dims(inputs.specs)
    shapes = [{axis: dims[dim.name] for axis, dim in enumerate(spec.dims) if dim.name} for spec in inputs.specs]
    dynamic_shapes: Any = dict(zip(kwargs, shapes, strict=True)) if kwargs else tuple(shapes)
    if inputs.from_tensors is not None:
        dynamic_shapes = (dynamic_shapes,)  # forward takes *tensors
    with unparsed_operators():
        program = torch.onnx.export(
            model,
            args,
            kwargs=kwargs,
            dynamo=True,
            opset_version=opset,
            input_names=list(inputs.names),
            output_names=list(output_names),
            dynamic_shapes=dynamic_shapes if any(shapes) else None,
            verbose=False,
        )
    if program is None or program.exported_program is None:
        raise ExportError("dynamo gave no program")
    _name_derived_dims(program.model, inputs)
    return _held_against(Exported(program.model), program.exported_program, inputs)


def unparsed_operators() -> AbstractContextManager[object]:
    """Within this context torch.onnx.export knows the domains of its 500 operators without parsing their sources.

    It parses them in each export for nothing else, which takes a second. An opset has a domain, too.
    """
    from onnxscript.values import TracedOnnxFunction  # tracing does without it

    return patch.object(TracedOnnxFunction, "function_ir", property(lambda function: function.opset))


def _export_with_torchscript(
    model: nn.Module, inputs: Inputs, *, output_names: tuple[str, ...], opset: int
) -> Exported:
    """Trace, which is fast and freezes every Python value that it meets; the weights are added afterwards.

    Otherwise the exporter holds them three times in memory, and folds parameters until none is left
    under its own name.
    """
    args, kwargs = inputs.traced_arguments()
    frozen = FrozenValues(len(inputs.names))
    with work_folder() as folder, frozen.watched(), contextlib.ExitStack() as stack:
        if has_script(model):
            model, args = traced(model, inputs)
        else:
            # the exporter would give keywords, and defaults of parameters that have no position, by position
            forward = functools.partial(_by_position, model.forward, len(args), tuple(kwargs))
            args = (*args, *kwargs.values())
            stack.enter_context(patch.object(model, "forward", forward))
        path = folder / "model.onnx"
        torch.onnx.export(
            model,
            args,
            str(path),
            dynamo=False,
            export_params=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            opset_version=opset,
            input_names=list(inputs.names),
            output_names=list(output_names),
            dynamic_axes={s.name: {axis: d.name for axis, d in enumerate(s.dims) if d.name} for s in inputs.specs},
        )
        graph = ir.load(path)
    _add_weights(graph, model, inputs)
    SIMPLIFY(graph)
    notes = (f"tracing froze a Python value at {line}" for line in frozen.lines)
    return Exported(graph, tuple(notes), tuple(line for line, is_decided in frozen.lines.items() if is_decided))


def _by_position(forward: Callable[..., Any], num_args: int, names: tuple[str, ...], /, *tensors: torch.Tensor) -> Any:
    return forward(*tensors[:num_args], **dict(zip(names, tensors[num_args:], strict=True)))


EXPORTERS = {"dynamo": _export_with_dynamo, "torchscript": _export_with_torchscript}
"""Each takes a module in eval mode whose forward takes and returns tensors only, inputs to trace with, labels of what
forward returns, by position, and the opset; it raises an ExportError where a size came out narrower than asked."""


def _export_dims(specs: tuple[InputSpec, ...]) -> dict[str, Any]:
    """torch.export's dimensions by name; those that it can't derive are free, and it finds the equation itself."""
    dims: dict[str, Any] = {
        name: torch.export.Dim(name, min=dim.low if dim.low > 1 else None, max=dim.high)
        for name, dim in dynamic_dims(specs).items()
    }
    for index, (name, dim) in enumerate(derived_dims(specs).items()):
        root, *others = dim.words
        constant, first, second = (0, 0, 0) if others else (dim.size_at({root: size}) for size in range(3))
        if others or root not in dynamic_dims(specs) or second - first != first - constant:
            dims[name] = torch.export.Dim(name if name.isidentifier() else f"derived_{index}")
        else:
            multiple = dims[root] if first - constant == 1 else (first - constant) * dims[root]
            dims[name] = multiple + constant if constant else multiple
    return dims


def _name_derived_dims(graph: ir.Model, inputs: Inputs) -> None:
    """Call dimensions of inputs that follow from others as they were declared, not as PyTorch writes the formula."""
    for spec, value in zip(inputs.specs, graph.graph.inputs, strict=False):
        for axis, dim in enumerate(spec.dims):
            if dim.formula and value.shape is not None and not isinstance(value.shape[axis], int):
                value.shape[axis] = dim.name


def _held_against(exported: Exported, program: torch.export.ExportedProgram, inputs: Inputs) -> Exported:
    """Note dims that must be equal; a fixed dim raises an ExportError, one of fewer sizes a NarrowedError."""
    # torch.export narrows ranges of sizes, and says so in its program only
    values = {node.name: node.meta.get("val") for node in program.graph.nodes if node.op == "placeholder"}
    names_of: dict[Any, set[str]] = {}
    narrowed: dict[str, Limits] = {}
    said: list[str] = []
    user_inputs = [name for name in program.graph_signature.user_inputs if isinstance(name, str)]
    for spec, name in zip(inputs.specs, user_inputs, strict=False):
        for dim, size in zip(spec.dims, getattr(values[name], "shape", ()), strict=False):
            if dim.name is None:
                continue
            symbol = getattr(getattr(size, "node", None), "expr", None)
            if symbol is None:
                raise ExportError(f"dynamo froze {dim.name} of {spec.name} at {size}")
            names_of.setdefault(symbol, set()).add(dim.name)
            if (allowed := program.range_constraints.get(symbol)) is not None:
                for word, limits in _narrowed(allowed, dim.name, inputs).items():
                    if word not in narrowed:
                        narrowed[word] = limits
                        low, high = limits
                        said.append(f"{word} of {spec.name} to {low or dim.low}..{high or ''}")
    notes = tuple(f"{' and '.join(sorted(names))} must be equal" for names in names_of.values() if len(names) > 1)
    exported = replace(exported, notes=(*exported.notes, *notes))
    if narrowed:
        raise NarrowedError(f"dynamo narrowed {', '.join(said)}", narrowed, exported)
    return exported


def _narrowed(allowed: Any, name: str, inputs: Inputs) -> dict[str, Limits]:
    """Limits that torch.export sets to a dimension, where they are narrower than asked: it allows no size below 2.

    Of a dimension that follows from others, those of the first of these, while the others are as traced.
    """
    dims = dynamic_dims(inputs.specs)
    least = all_sizes(inputs.specs, {word: max(dim.low, 2) for word, dim in dims.items()})
    most = all_sizes(inputs.specs, {word: dim.high or _UNBOUNDED for word, dim in dims.items()})
    is_low, is_high = allowed.lower > least[name], allowed.upper < min(most[name], _UNBOUNDED)
    if not (is_low or is_high):
        return {}
    traced = traced_sizes(inputs.specs)

    def size_with(word: str, size: int) -> int:
        return all_sizes(inputs.specs, {**traced, word: size})[name]

    word = next(word for word, size in traced.items() if size_with(word, size) != size_with(word, size + 1))
    reached = functools.partial(size_with, word)
    low = 1 + bisect.bisect_left(range(1, int(allowed.lower) + 1), allowed.lower, key=reached) if is_low else None
    high = bisect.bisect_right(range(1, int(allowed.upper) + 1), allowed.upper, key=reached) if is_high else None
    return {word: (low, high)}


def _add_weights(graph: ir.Model, model: nn.Module, inputs: Inputs) -> None:
    """Turn the graph inputs that are named as a tensor of the module into initializers, without a copy."""
    state = model.state_dict(keep_vars=True)
    for value in list(graph.graph.inputs):
        if value.name in inputs.names or value.name not in state:
            continue
        graph.graph.inputs.remove(value)
        tensor = state[value.name].detach()
        value.name = value.name.removeprefix(PREFIX) if has_script(model) else value.name
        value.const_value = ir.tensor_adapters.TorchTensor(tensor, name=value.name)
        graph.graph.register_initializer(value)
