"""Match the inputs and outputs of a file that somebody else made with those of the module."""

import contextlib
import inspect
import re
from collections.abc import Mapping

from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import InputsError, SpecError
from tasks.core.forward.arguments import argument_paths, forward_parameters, forward_signature
from tasks.core.forward.outputs import flatten
from tasks.core.forward.precision import run_float32
from tasks.core.inputs.choice import choose_inputs
from tasks.core.inputs.inputs import Inputs
from tasks.core.inputs.samples import declared_inputs, read_sample
from tasks.core.inputs.sizes import with_sizes
from tasks.core.records.steps import Candidate, Graph, TensorType
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.input_spec import Dim, InputSpec
from tasks.core.syntax import INPUT_SYNTAX

Match = tuple[tuple[InputSpec, ...], dict[str, str], list[str]]
"""The module's inputs, names in the file by the module's where they differ, and notes."""


class Matcher:
    """Matches one file after another with a module; equal inputs are chosen once."""

    def __init__(self, spec: ResolvedSpec, model: nn.Module, *, declared: bool) -> None:
        """Read the sample; `declared`: files must have the dims of `spec.inputs`, else the dims are each file's own."""
        self._spec, self._model, self._declared = spec, model, declared
        self._sample = read_sample(spec.sample) if spec.sample else None
        self._known: tuple[InputSpec, ...] = ()
        with contextlib.suppress(InputsError):
            self._known = declared_inputs(spec, model, self._sample)
        with contextlib.suppress(SpecError):  # a size that nobody knows may be none of the file's
            self._known = with_sizes(self._known, self._sample)
        self._chosen: dict[tuple[InputSpec, ...], tuple[Inputs, tuple[str, ...]]] = {}

    def match(self, graph: Graph) -> tuple[Candidate, Inputs]:
        """Give the file to prove and the inputs to prove it with, the same object for files whose inputs are equal.

        An InputsError or SpecError where nothing says what an input is, or the module refuses it.
        """
        if self._declared:
            specs, file_inputs, notes = _match_declared(self._known, graph)
        else:
            specs, file_inputs, notes = _match_forward(self._model, graph, self._known, sample=self._sample or {})
        if specs not in self._chosen:
            inputs = choose_inputs(self._spec.model_copy(update={"inputs": specs, "input_names": ()}), self._model)
            with inputs.kept():
                output = run_float32(self._model, *inputs.example())
            self._chosen[specs] = inputs, tuple(name for name, _ in flatten(output))
        inputs, output_names = self._chosen[specs]
        taken = {file_inputs.get(name, name) for name in inputs.names}
        present = {value.name for value in graph.inputs}
        notes += [
            f"the file has no input {name}: its outputs were held against the module's whatever {name} was"
            for name in inputs.names
            if file_inputs.get(name, name) not in present
        ]
        failures = [f"the file has the input {name}, which the module lacks" for name in sorted(present - taken)]
        order, found = _match_outputs(output_names, self._spec.outputs, graph)
        candidate = Candidate(
            graph, file_inputs=file_inputs, output_order=order, failures=tuple(failures), notes=(*notes, *found)
        )
        return candidate, inputs


def _match_declared(wanted: tuple[InputSpec, ...], graph: Graph) -> Match:
    """Find each declared input in the file: by name, else the first free one of its dtype and shape."""
    free = {value.name: value for value in graph.inputs}
    file_inputs = {}
    for spec in [spec for spec in wanted if free.pop(spec.name, None) is None]:
        if (found := next((name for name, value in free.items() if _fits(spec, value)), None)) is not None:
            free.pop(found)
            file_inputs[spec.name] = found
    notes = [
        f"the file's input {theirs} was taken for {ours}, by position and shape" for ours, theirs in file_inputs.items()
    ]
    return wanted, file_inputs, notes


def _fits(spec: InputSpec, value: TensorType) -> bool:
    same = spec.dtype == value.dtype and len(spec.dims) == len(value.dims)
    return same and all(
        dim.name is not None or isinstance(size, str) or dim.size == size
        for dim, size in zip(spec.dims, value.dims, strict=True)
    )


def _match_forward(
    model: nn.Module, graph: Graph, known: tuple[InputSpec, ...], *, sample: Mapping[str, Array]
) -> Match:
    """Take the file's inputs and dims for forward's parameters: by name, the others by position.

    What is known of the inputs besides gives ranges, sizes to trace at, and inputs that the file lacks.
    """
    paths = [spec.name for spec in known] or [value.name for value in graph.inputs]
    nested = any(path.keys for path in argument_paths(paths, model))
    names = paths if nested else forward_parameters(model)
    ours = _named_as_forward(model, names, [value.name for value in graph.inputs], keep=set(sample))
    like = {spec.name: spec for spec in known}
    specs, file_inputs, notes = [], {}, []
    for index, (name, value) in enumerate(zip(ours, graph.inputs, strict=True)):
        if name is None:
            continue  # the file's own: nothing that the module could be given
        by_place = known[index] if index < len(known) else None
        specs.append(_spec_of(name, value, graph, like=like.get(name) or like.get(value.name) or by_place))
        if name != value.name:
            file_inputs[name] = value.name
            notes.append(f"the file's input {value.name} was taken for {name}, by position")
    specs += [spec for spec in known if spec.name in names and spec.name not in ours]
    given = {spec.name.partition(".")[0] if nested else spec.name for spec in specs}
    parameters = forward_signature(model).parameters
    required = [name for name in forward_parameters(model) if parameters[name].default is inspect.Parameter.empty]
    if given <= {*forward_parameters(model)} and (absent := [name for name in required if name not in given]):
        shown = " ".join(f"--input {name}=…" for name in names)
        raise InputsError(
            f"The file has no input for {', '.join(absent)} of {type(model).__name__}.forward, and nothing says what "
            f"to pass for it; declare all inputs with {shown} ({INPUT_SYNTAX})."
        )
    return tuple(specs), file_inputs, notes


def _named_as_forward(model: nn.Module, parameters: list[str], names: list[str], *, keep: set[str]) -> list[str | None]:
    """The parameter of forward, or the place inside one, for each input of the file; None: there is none left."""
    if set(names) == keep:
        return [*names]
    kinds = {p.kind for p in forward_signature(model).parameters.values()}
    free = iter([name for name in parameters if name not in names])
    takes_more = inspect.Parameter.VAR_POSITIONAL in kinds
    return [name if name in parameters else next(free, name if takes_more else None) for name in names]


def _spec_of(name: str, value: TensorType, graph: Graph, *, like: InputSpec | None) -> InputSpec:
    """An input with the file's dims; sizes to trace at and the range are those of `like`."""
    if like is not None and (like.dtype != value.dtype or len(like.dims) != len(value.dims)):
        like = None
    batch = graph.inputs[0].dims[0] if graph.inputs[0].dims else None
    named = {size for other in graph.inputs for size in other.dims if isinstance(size, str)}
    dims = []
    for axis, size in enumerate(value.dims):
        if isinstance(size, int):
            dims.append(Dim(size=size))
            continue
        if (derived := _formula(size)) is not None and derived.words <= named:
            dims.append(derived)
            continue
        known = like.dims[axis].size if like is not None and size != batch else None
        if known is None and size != batch:
            raise InputsError(
                f"The file's input {value} has the dynamic dimension {size}, and nothing says a size to prove it at; "
                f"declare the inputs with --input ({INPUT_SYNTAX})."
            )
        own = re.sub(r"\W", "_", value.name, flags=re.ASCII) or "dim"
        word = size if re.fullmatch(r"[A-Za-z_]\w*", size, re.ASCII) else f"{own}_{axis}"
        dims.append(Dim(name=word, size=known))
    low, high, padded = (like.low, like.high, like.padded) if like is not None else (None, None, "")
    if value.dtype in ("int16", "int32", "int64") and low is None and not padded:
        shown = ",".join(map(str, dims))
        raise InputsError(
            f"The file's input {value} takes integers, and nothing says which are legal; declare it, "
            f"e.g. --input '{name}={value.dtype}[{shown}]@0..103', or give real ones with --sample."
        )
    return InputSpec(name=name, dtype=value.dtype, dims=tuple(dims), low=low, high=high, padded=padded)


def _formula(symbol: str) -> Dim | None:
    """The dimension that a file writes as `past + new` or `2*length`; None: it is no such formula."""
    with contextlib.suppress(SpecError):
        dim = Dim.parse(symbol.replace(" ", ""))
        return dim if dim.formula else None
    return None


def _match_outputs(names: tuple[str, ...], asked: tuple[str, ...], graph: Graph) -> tuple[tuple[int, ...], list[str]]:
    """By name where the file's names are the module's in another order, else by position."""
    found = [value.name for value in graph.outputs]
    for wanted in (asked, names):
        if found != list(wanted) and sorted(found) == sorted(wanted):
            return tuple(found.index(name) for name in wanted), [
                f"the file's outputs were matched by name: they come as {', '.join(found)}, "
                f"the module's as {', '.join(wanted)}"
            ]
    if len(found) == len(names) > 1 and found not in ([*names], [*asked]):
        pairs = ", ".join(f"{a} for {b}" for a, b in zip(found, names, strict=True))
        return (), [f"the file's outputs were matched by position: {pairs}"]
    return (), []
