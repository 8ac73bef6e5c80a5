"""What pickles hold of numpy, rebuilt here: numpy's own `__setstate__` takes from a pickle what it never checks.

A forged dtype made it follow addresses that lay in the file. None of these classes lets a pickle set an attribute.
"""

import pickle
from typing import Any

import numpy as np


class PickledDtype:
    """In place of `numpy.dtype`: numbers and text of one width, in either byte order."""

    __slots__ = ("value",)

    def __init__(self, text: str, *_: Any) -> None:
        self.value = np.dtype(str(text))
        if self.value.kind not in "biufcSU":
            raise pickle.UnpicklingError(f"Unsupported global: GLOBAL numpy.{self.value.name}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the byte order."""
        self.value = self.value.newbyteorder(state[1])


class PickledArray:
    """In place of `numpy.ndarray`, and of `_reconstruct`, which makes an empty one."""

    __slots__ = ("array",)

    def __new__(cls, *_: Any) -> "PickledArray":
        """Make an empty one."""
        made = super().__new__(cls)
        made.array = np.empty(0)
        return made

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Take the values."""
        _, shape, dtype, is_fortran, content = state[-5:]
        self._fill(shape, dtype, content, order="F" if is_fortran else "C")

    def _fill(self, shape: tuple[int, ...], dtype: PickledDtype, content: Any, *, order: Any = "C") -> None:
        data = content.encode("latin1") if isinstance(content, str) else content  # Python 2 has no bytes
        self.array = np.ndarray(shape, dtype.value, data, order=order)


class PickledScalar:
    """In place of `numpy._core.multiarray.scalar`: a score or a seed, which is no weight and not kept."""

    __slots__ = ()

    def __init__(self, *_: Any) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        """Take nothing."""


class PickledBuffer(PickledArray):
    """In place of `numpy._core.numeric._frombuffer`, of pickle's protocol 5."""

    __slots__ = ()

    def __init__(self, content: Any, dtype: PickledDtype, *layout: Any) -> None:
        shape, order = layout[:2]
        self._fill(shape, dtype, content, order=order)
