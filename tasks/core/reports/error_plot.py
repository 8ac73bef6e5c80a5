"""Geometry of a plot of one output's error beside its noise floor: a row per family, on a log scale."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tasks.core.arrays import EPS32
from tasks.core.records.evidence import FamilyParity

LEFT, RIGHT = 92.0, 580.0
"""Of the axis; beside it stand the families' names and their ratios."""
TOP, ROW_HEIGHT, BOTTOM_MARGIN = 8.0, 34.0, 40.0
_DECADES = (-20, 20)
"""Beyond these a value is drawn at the edge."""
_MIN_DECADES = 3
_MAX_TICKS = 9


@dataclass(frozen=True)
class Row:
    """One family's marks, in units of the view box."""

    parity: FamilyParity
    y: float
    """The middle of the row."""
    floor: float | None
    """x of the noise floor: torch float32's own relative error, at least eps32; None: not finite."""
    limit: float | None
    """x of the noise limit times the floor."""
    error: float
    """x of the file's relative error."""
    edge: Literal["", "low", "high"]
    """The error is too small (zero) or too large (Inf, NaN) for the axis and is drawn at its end."""
    is_inside: bool
    """The noise ratio is within its limit; NaN is not."""


@dataclass(frozen=True)
class ErrorPlot:
    """Positions of all marks of one output, in units of the view box."""

    ticks: tuple[tuple[float, int], ...]
    """Powers of ten on the axis: x, exponent."""
    rows: tuple[Row, ...]
    bottom: float
    """y of the axis."""
    height: float
    width: float = 720.0
    left: float = LEFT
    right: float = RIGHT
    top: float = TOP
    half_row: float = ROW_HEIGHT / 2 - 4


@dataclass(frozen=True)
class _Axis:
    """A log scale from 10 ** low to 10 ** high."""

    low: int
    high: int

    def x(self, value: float) -> float:
        """Position of a value: the left end if it is too small, the right end if too large or NaN."""
        if not value < math.inf:
            return RIGHT
        share = (math.log10(value) - self.low) / (self.high - self.low) if value > 0 else 0.0
        return round(LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT), 2)


def error_plot(families: Sequence[FamilyParity], noise_limit: float) -> ErrorPlot:
    """Lay out the plot of one output.

    Args:
        families: figures of each family of probes, a row each.
        noise_limit: largest noise ratio (error / noise floor) that passes.
    """
    axis = _axis_of(families, noise_limit)
    step = math.ceil((axis.high - axis.low) / _MAX_TICKS)
    bottom = TOP + ROW_HEIGHT * len(families)
    ticks = tuple((axis.x(10.0**e), e) for e in range(axis.low, axis.high + 1, step))
    rows = (
        _row(parity, axis, noise_limit, y=TOP + ROW_HEIGHT * (index + 0.5)) for index, parity in enumerate(families)
    )
    return ErrorPlot(ticks, tuple(rows), bottom=bottom, height=bottom + BOTTOM_MARGIN)


def noise_floor(parity: FamilyParity) -> float:
    """Relative error that float32 rounding alone explains."""
    return max(parity.torch_relative_error, EPS32)


def _row(parity: FamilyParity, axis: _Axis, noise_limit: float, *, y: float) -> Row:
    floor, error = noise_floor(parity), parity.relative_error
    is_drawn = math.isfinite(floor)
    is_low, is_high = not error > 10.0**axis.low, not error < 10.0**axis.high
    return Row(
        parity=parity,
        y=y,
        floor=axis.x(floor) if is_drawn else None,
        limit=axis.x(noise_limit * floor) if is_drawn else None,
        error=axis.x(error),
        edge="high" if is_high else "low" if is_low else "",
        is_inside=parity.noise_ratio <= noise_limit,
    )


def _axis_of(families: Sequence[FamilyParity], noise_limit: float) -> _Axis:
    """Choose whole decades around every positive, finite value, with some room at both ends."""
    floors = [noise_floor(parity) for parity in families]
    values = [*floors, *(noise_limit * floor for floor in floors), *(parity.relative_error for parity in families)]
    logs = [math.log10(value) for value in values if 0 < value < math.inf] or [math.log10(EPS32)]
    lowest, highest = _DECADES
    low = min(max(math.floor(min(logs) - 0.2), lowest), highest - _MIN_DECADES)
    high = max(min(math.ceil(max(logs) + 0.2), highest), low + _MIN_DECADES)
    return _Axis(low, high)
