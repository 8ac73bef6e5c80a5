"""One input of a model, as `--input` writes it: name, dtype, dims and range."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal, Self

from pydantic import model_validator

from tasks.core.errors import SpecError
from tasks.core.records.record import Record
from tasks.core.syntax import DIM_SYNTAX, INPUT_SYNTAX

FLOAT_DTYPES = ("float32", "float64", "float16", "bfloat16")
INTEGER_DTYPES = ("int8", "int16", "int32", "int64", "uint8")
_EXACT = 2.0**53
"""Up to here a float64 holds every integer."""
_LIMITS = {
    "int8": (-128.0, 127.0),
    "int16": (-32768.0, 32767.0),
    "int32": (-(2.0**31), 2.0**31 - 1),
    "int64": (-_EXACT, _EXACT),
    "uint8": (0.0, 255.0),
    "bool": (0.0, 1.0),
    "float16": (-65504.0, 65504.0),
    "bfloat16": (-3.3e38, 3.3e38),
    "float32": (-3.4e38, 3.4e38),
    "float64": (-8e307, 8e307),
}
"""Values that a declared range may name, by dtype."""
Side = Literal["", "right", "left", "either"]
_PADDED: dict[Side, str] = {"": "", "right": "@padded", "left": "@padded-left", "either": "@padded-either"}
"""How it is written on which side sequences are padded."""
_NUMBER = r"-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_INPUT = re.compile(
    rf"^(?P<name>[\w.\-/]+)=(?P<dtype>\w+)\[(?P<dims>[^\]]*)\](?:(?P<padded>@padded(?:-left|-either)?)|@(?P<low>{_NUMBER})\.\.(?P<high>{_NUMBER}))?$"
)
_DIM = re.compile(r"^(?P<word>[A-Za-z_]\w*)(?:=(?P<size>\d+))?(?::(?P<low>\d+)\.\.(?P<high>\d+)?)?$", re.ASCII)
_FACTOR = r"(?:[1-9]\d*|[A-Za-z_]\w*)"
_LONGEST, _MAX_DIMS, _MAX_DIGITS = 10_000, 64, 18
"""Characters of an input; dimensions that PyTorch and NumPy take; digits of the sizes that they count with."""
_DERIVED = re.compile(rf"^(?:(?P<word>[A-Za-z_]\w*)=)?(?P<formula>{_FACTOR}(?:[+*]{_FACTOR})+)$", re.ASCII)


class Dim(Record):
    """One dimension of an input: a fixed size, a named dynamic one, or a dynamic one that follows from others."""

    name: str | None = None
    """The word of a dynamic dimension, or its formula if it has no word; None for a fixed one."""
    size: int | None = None
    """The size; of a dynamic dimension the one to trace at (None: not chosen yet)."""
    low: int = 1
    """Smallest size allowed, for a dynamic dimension."""
    high: int | None = None
    """Largest size allowed, for a dynamic dimension; None: unbounded."""
    formula: str = ""
    """Of what other dimensions it is the sum or multiple, e.g. `past+new` or `2*n`; empty: its size is its own."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3`, `batch`, `length=13:1..64`, `total=past+new` or `2*n`; a SpecError if it is none, or impossible."""
        if any(len(digits) > _MAX_DIGITS for digits in re.findall(r"[0-9]+", text)):
            raise SpecError(f"{text!r} holds a size that nothing has; write {DIM_SYNTAX}.")
        if re.fullmatch(r"[0-9]+", text):
            return cls(size=int(text))
        match = _DIM.match(text)
        if match is None and (derived := _DERIVED.match(text)) is not None:
            return cls(name=derived["word"] or derived["formula"], formula=derived["formula"])
        if match is None:
            has_bounds = _DERIVED.match(text.partition(":")[0]) is not None
            hint = "; what follows from others has no bounds of its own" if has_bounds and ":" in text else ""
            raise SpecError(f"{text!r} is no dimension; write {DIM_SYNTAX}{hint}.")
        low, high, size = (int(v) if (v := match[k]) else None for k in ("low", "high", "size"))
        return cls(name=match["word"], size=size, low=1 if low is None else low, high=high)

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        if (self.size is not None and self.size < 1) or (self.name is None and self.size is None):
            raise SpecError(f"A dimension of size {self.size} holds nothing; write a number from 1 up, or a WORD.")
        if self.high is not None and (self.low > self.high or self.high < 1):
            raise SpecError(
                f"The bounds {self.low}..{self.high} of the dimension {self.name} hold no size; write LOW..HIGH."
            )
        if self.name and self.size is not None and not self.low <= self.size <= (self.high or self.size):
            raise SpecError(f"The size of {str(self)!r} lies outside its own bounds; give a size within them.")
        if self.formula:
            is_readable = self.words and re.fullmatch(rf"{_FACTOR}(?:[+*]{_FACTOR})*", self.formula, re.ASCII)
            if not is_readable or self.name is None or (self.low, self.high) != (1, None):
                raise SpecError(f"{str(self)!r} follows from no other dimension; write {DIM_SYNTAX}.")
        return self

    @property
    def words(self) -> set[str]:
        """The dimensions that it follows from."""
        return set(re.findall(r"[A-Za-z_]\w*", self.formula, re.ASCII))

    def size_at(self, sizes: Mapping[str, int]) -> int:
        """Its size where dimensions have these, by name: itself, or those that it follows from."""
        if self.name is None:
            return self.size or 0
        if self.name in sizes:
            return sizes[self.name]
        terms = (term.split("*") for term in self.formula.split("+"))
        return sum(math.prod(int(part) if part.isdigit() else sizes[part] for part in term) for term in terms)

    def __str__(self) -> str:
        if self.name is None:
            return str(self.size)
        if self.formula:
            return self.formula if self.name == self.formula else f"{self.name}={self.formula}"
        size = "" if self.size is None else f"={self.size}"
        bounds = "" if self.high is None and self.low == 1 else f":{self.low}..{'' if self.high is None else self.high}"
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
    padded: Side = ""
    """On which side the sequences are padded of which this is the mask: ones, at least one, then zeros along the last
    axis, or the other way round, or rows of both kinds; empty: it is none."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME=DTYPE[DIMS]@LOW..HIGH`; a SpecError if it is none, or the range does not fit the dtype."""
        match = _INPUT.match(text.replace(" ", "")) if len(text) <= _LONGEST else None
        if match is None:
            raise SpecError(f"--input {text!r} can't be read; write {INPUT_SYNTAX}.")
        dims = tuple(Dim.parse(dim) for dim in match["dims"].split(",")) if match["dims"] else ()
        if len(dims) > _MAX_DIMS:
            raise SpecError(f"Input {match['name']!r} has {len(dims)} dimensions; PyTorch takes at most {_MAX_DIMS}.")
        low, high = (None if match[k] is None else float(match[k]) for k in ("low", "high"))
        padded = next(side for side, word in _PADDED.items() if word == (match["padded"] or ""))
        return cls(name=match["name"], dtype=match["dtype"], dims=dims, low=low, high=high, padded=padded)

    @model_validator(mode="after")
    def _range_fits_dtype(self) -> Self:
        if self.dtype not in _LIMITS:
            raise SpecError(
                f"Input {self.name!r} has the unknown dtype {self.dtype!r}; "
                f"use one of {', '.join((*FLOAT_DTYPES, *INTEGER_DTYPES, 'bool'))}."
            )
        if self.padded and (self.dtype in FLOAT_DTYPES or not self.dims or self.low is not None):
            raise SpecError(
                f"Input {self.name!r} can't be @padded; that is for masks, such as mask=int64[batch,length]."
            )
        if self.low is None and self.high is None:
            if self.dtype in ("int16", "int32", "int64") and not self.padded:
                raise SpecError(
                    f"Input {self.name!r} is {self.dtype} without a range; say which values are legal, "
                    f"e.g. {self}@0..103."
                )
            return self
        if self.low is None or self.high is None:
            raise SpecError(f"The range of input {self.name!r} has one end only; give the lowest and highest value.")
        if self.low > self.high:
            raise SpecError(f"The range of input {self.name!r} is empty: {self.low:g} is more than {self.high:g}.")
        lowest, highest = _LIMITS[self.dtype]
        whole = self.dtype in FLOAT_DTYPES or (self.low.is_integer() and self.high.is_integer())
        if not lowest <= self.low <= self.high <= highest or not whole:
            kind = "numbers" if self.dtype in FLOAT_DTYPES else "integers"
            raise SpecError(
                f"The range {_number(self.low)}..{_number(self.high)} of input {self.name!r} does not fit "
                f"{self.dtype}; give {kind} from {_number(lowest)} to {_number(highest)}."
            )
        return self

    @property
    def value_range(self) -> tuple[float, float] | None:
        """Lowest and highest legal value, both included; None for a float without a range."""
        if self.low is not None and self.high is not None:
            return self.low, self.high
        if self.padded:
            return 0.0, 1.0
        return _LIMITS[self.dtype] if self.dtype in ("uint8", "int8", "bool") else None

    def __str__(self) -> str:
        values = _PADDED[self.padded]
        if self.low is not None and self.high is not None:
            values = f"@{_number(self.low)}..{_number(self.high)}"
        return f"{self.name}={self.dtype}[{','.join(map(str, self.dims))}]{values}"


def derived_dims(specs: Iterable[InputSpec]) -> dict[str, Dim]:
    """The dimensions that follow from others, by name, each after those that it follows from.

    A SpecError if one says two things, or names what no input has.
    """
    dims = [dim for spec in specs for dim in spec.dims if dim.name is not None]
    waiting = {str(dim.name): dim for dim in dims if dim.formula}
    for dim in dims:
        name = str(dim.name)
        if name in waiting and dim.formula != waiting[name].formula and str(dim) != name:
            raise SpecError(f"The dimension {name} is both {waiting[name]} and {dim}; give one.")
    known = {str(dim.name) for dim in dims} - waiting.keys()
    for dim in waiting.values():
        if unknown := sorted(dim.words - known - waiting.keys()):
            raise SpecError(
                f"The dimension {dim} names {unknown[0]}, which is no dimension of any input; "
                f"give {unknown[0]} to an input, or use one of {', '.join(sorted(known)) or 'those that there are'}."
            )
    found: dict[str, Dim] = {}
    while ready := {name: dim for name, dim in waiting.items() if name not in found and dim.words <= known}:
        found |= ready
        known |= ready.keys()
    if circular := sorted(waiting.keys() - found.keys()):
        raise SpecError(f"The dimension {waiting[circular[0]]} follows from itself; give a size to one that it names.")
    return found


def _number(value: float) -> str:
    """All digits of a number, so that it reads back as itself."""
    return str(int(value)) if value.is_integer() and abs(value) <= _EXACT else repr(value)
