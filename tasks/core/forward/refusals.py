"""What an exception that a call of a module ends in says: of the module, of the machine, or of Assay itself."""

import traceback
from pathlib import Path

from torch import nn

from tasks.core.errors import OutOfMemoryError, is_out_of_memory, one_line

_OWN_FOLDER = f"{Path(__file__).parents[1]}/"
_FAULTS = (AssertionError, AttributeError, LookupError, NameError, TypeError)
"""What a mistake in Python code ends in; PyTorch's operators refuse with a RuntimeError."""


def refusal_of(error: Exception, network: nn.Module, *, where: str) -> str:
    """What the module says, in one line.

    Args:
        error: what its call raised.
        network: the module.
        where: sizes and kind of run, for a sentence.

    Raises:
        OutOfMemoryError: memory ran out, which says nothing of the module.
        Exception: the error itself, if the mistake is Assay's.
    """
    if is_out_of_memory(error):
        raise OutOfMemoryError(
            f"Memory ran out while {type(network).__name__} ran at {where}: {one_line(error) or type(error).__name__}; "
            f"free some, or bound the sizes of its inputs (NAME=DTYPE[WORD:LOW..HIGH])."
        ) from error
    if is_own_fault(error):
        raise error
    return one_line(f"{type(error).__name__}: {error}")


def is_own_fault(error: BaseException) -> bool:
    """Was it raised by a mistake in Assay's own code, not in the module or in what it calls?"""
    files = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, _FAULTS) and files != [] and files[-1].startswith(_OWN_FOLDER)
