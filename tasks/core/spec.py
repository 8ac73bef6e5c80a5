"""`ExportSpec`: everything that decides what one export is."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from tasks.core.errors import SpecError

DEFAULT_OPSET = 20
FLOAT_DTYPES = ("float32", "float64", "float16", "bfloat16")
INTEGER_DTYPES = ("int8", "int16", "int32", "int64", "uint8")
INPUT_SYNTAX = "NAME=DTYPE[DIM,...]@LOW..HIGH, e.g. image=float32[batch,3,224,224] or ids=int64[batch,length=13]@0..103"

_NUMBER = r"-?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_INPUT = re.compile(
    rf"^(?P<name>[\w.\-/]+)=(?P<dtype>\w+)\[(?P<dims>[^\]]*)\](?:@(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER}))?$"
)
_DIM = re.compile(r"^(?P<word>[A-Za-z_]\w*)(?:=(?P<size>\d+))?(?::(?P<low>\d+)\.\.(?P<high>\d+))?$")


class Record(BaseModel):
    """A frozen record that crosses a border; unknown fields are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Dim(Record):
    """One dimension of an input: a fixed size, or a named dynamic one."""

    name: str | None = None
    """The word of a dynamic dimension; None for a fixed one."""
    size: int | None = None
    """The size; of a dynamic dimension the one to trace at (None: not chosen yet)."""
    low: int = 1
    """Smallest size allowed, for a dynamic dimension."""
    high: int | None = None
    """Largest size allowed, for a dynamic dimension; None: unbounded."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3`, `batch`, `length=13` or `length=13:1..64`."""
        if text.isdigit():
            return cls(size=int(text))
        match = _DIM.match(text)
        if match is None:
            raise SpecError(f"{text!r} is no dimension; write a number or WORD[=SIZE][:LOW..HIGH].")
        low, high, size = (int(v) if (v := match[k]) else None for k in ("low", "high", "size"))
        if low is not None and high is not None and low > high:
            raise SpecError(f"The bounds of {text!r} are empty: {low} is more than {high}.")
        if size is not None and not (low or 1) <= size <= (high or size):
            raise SpecError(f"The size of {text!r} lies outside its own bounds.")
        return cls(name=match["word"], size=size, low=1 if low is None else low, high=high)

    def __str__(self) -> str:
        if self.name is None:
            return str(self.size)
        size = "" if self.size is None else f"={self.size}"
        bounds = "" if self.high is None else f":{self.low}..{self.high}"
        return f"{self.name}{size}{bounds}"


class InputSpec(Record):
    """One input of the model: name, dtype, dims and the range of its values."""

    name: str
    dtype: str
    dims: tuple[Dim, ...]
    low: float | None = None
    """Smallest value, included; None: no range declared."""
    high: float | None = None
    """Largest value, included."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME=DTYPE[DIMS]@LOW..HIGH`.

        Raises:
            SpecError: the text does not follow the syntax, or the range does not fit the dtype.
        """
        match = _INPUT.match(text.replace(" ", ""))
        if match is None:
            raise SpecError(f"--input {text!r} can't be read; write {INPUT_SYNTAX}.")
        dtype = match["dtype"]
        if dtype not in (*FLOAT_DTYPES, *INTEGER_DTYPES, "bool"):
            raise SpecError(
                f"--input {text!r} has the unknown dtype {dtype!r}; "
                f"use one of {', '.join((*FLOAT_DTYPES, *INTEGER_DTYPES, 'bool'))}."
            )
        dims = tuple(Dim.parse(dim) for dim in match["dims"].split(",") if dim)
        low, high = (None if match[k] is None else float(match[k]) for k in ("low", "high"))
        return cls(name=match["name"], dtype=dtype, dims=dims, low=low, high=high)

    @model_validator(mode="after")
    def _range_fits_dtype(self) -> Self:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise SpecError(f"The range of input {self.name!r} is empty: {self.low:g} is more than {self.high:g}.")
        if self.dtype in ("int16", "int32", "int64") and self.low is None:
            raise SpecError(
                f"Input {self.name!r} is {self.dtype} without a range; say which values are legal, "
                f"e.g. {self}@0..103."
            )
        return self

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Lowest and highest legal value, both included; None for a float without a range."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        full = {"uint8": (0.0, 255.0), "int8": (-128.0, 127.0), "bool": (0.0, 1.0)}
        return full.get(self.dtype)

    def __str__(self) -> str:
        values = "" if self.low is None else f"@{self.low:g}..{self.high:g}"
        return f"{self.name}={self.dtype}[{','.join(map(str, self.dims))}]{values}"


def _is_known_opset(opset: int) -> int:
    if not 9 <= opset <= 25:
        raise SpecError(f"Opset {opset} is outside 9 to 25; the default is {DEFAULT_OPSET}.")
    return opset


def _is_model_name(name: str | None) -> str | None:
    if name is not None and (not name or re.search(r"[/:.%\"'`]", name)):
        raise SpecError(f"MLflow allows no / : . % or quote in the name {name!r}; give another with --name.")
    return name


class ExportSpec(Record):
    """What to export: the model, its weights, its inputs, and how.

    Fields left empty are filled from `deployments/catalog.yaml` or from the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    model: Annotated[Any, WithJsonSchema({"type": "string", "title": "Model"})]
    """A catalog entry, a torchvision name, `package.module:Class`, `file.py:Class`, or a live `nn.Module`."""
    name: Annotated[str | None, AfterValidator(_is_model_name)] = None
    """Registered model name; None: the model's own."""
    weights: Annotated[Any, WithJsonSchema({"type": "string", "title": "Weights"})] = None
    """Enum member, file, URL[#sha256=HEX], `runs:/`, `models:/`, `random[:SEED]`, `as-built`, or a state_dict."""
    kwargs: dict[str, Any] = {}
    """Arguments of the factory."""
    inputs: tuple[InputSpec, ...] = ()
    """In the order of forward, or by its keyword names."""
    input_names: tuple[str, ...] = ()
    """Names in the file; those beyond the model's inputs label its parameters, in order."""
    outputs: tuple[str, ...] = ()
    """Names of the outputs, in the order in which forward's structure is flattened."""
    ignore_missing: tuple[str, ...] = ()
    """Globs of keys that the weights may lack."""
    ignore_unexpected: tuple[str, ...] = ()
    """Globs of keys of the weights that the model may lack."""
    sample: Path | None = None
    """`.npz` of real inputs, arrays by input name."""
    opset: Annotated[int, AfterValidator(_is_known_opset)] = DEFAULT_OPSET
    exporter: Literal["auto", "dynamo", "torchscript"] = "auto"
    constant_outputs: tuple[str, ...] = ()
    """Outputs that are meant not to depend on the input."""

    @field_validator("inputs", mode="before")
    @classmethod
    def _parse_inputs(cls, value: Any) -> Any:
        return tuple(InputSpec.parse(item) if isinstance(item, str) else item for item in value)

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for kind, names in (
            ("input", [i.name for i in self.inputs]),
            ("input name", list(self.input_names)),
            ("output", list(self.outputs)),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise SpecError(f"The {kind} {twice[0]!r} is declared twice; each needs a name of its own.")
        return self

    @field_serializer("model", "weights")
    def _live_objects_by_type(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        return f"<live {type(value).__module__}.{type(value).__qualname__}>"

    @property
    def title(self) -> str:
        """The registered model name; a spec that was resolved has one."""
        return self.name or str(self.model)

    def canonical_json(self) -> str:
        """The spec without the place of any file, as one line: equal content, equal text."""
        fields = self.model_dump(mode="json", exclude={"sample"})
        fields["inputs"] = [str(item) for item in self.inputs]
        for field in ("model", "weights"):
            value = str(fields[field])
            if ":/" not in value:
                fields[field] = value.rsplit("/", 1)[-1]
        return json.dumps(fields, sort_keys=True)
