"""Every deliberate error survives the way between processes, and knows its exit status."""

import importlib
import pickle

import pytest

from tasks.core import errors
from tasks.core.errors import NarrowedError, one_line


def tree(root: type[errors.AssayError] = errors.AssayError) -> list[type[errors.AssayError]]:
    """An error's class and all below it, those of tests left out."""
    below = [kind for kind in root.__subclasses__() if kind.__module__.startswith(("tasks.", "flows."))]
    return [root, *(kind for child in below for kind in tree(child))]


@pytest.mark.parametrize("kind", tree(), ids=lambda kind: kind.__name__)
def test_every_error_can_be_pickled(kind: type[errors.AssayError]) -> None:
    """Class, message and attributes come out as they went in, whatever the constructor takes."""
    error = kind.__new__(kind)
    error.args = ("It is wrong; mend it.",)
    error.run_id = "abc"
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.run_id) == ("It is wrong; mend it.", "abc")


def test_what_a_constructor_adds_comes_along() -> None:
    """The sizes of a narrowed dimension and the results of a sweep are there on the other side, too."""
    narrowed = pickle.loads(pickle.dumps(NarrowedError("narrowed", {"batch": (None, 4)}, None)))
    assert narrowed.beyond == {"batch": (5,)}
    assert pickle.loads(pickle.dumps(errors.SweepError("not all", [1, 2]))).results == [1, 2]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    """Each class stands in the drawing, with the exit status that it has."""
    importlib.import_module("tasks.core.weights.foreign_files")
    drawn = [line.split() for line in (errors.__doc__ or "").splitlines()]
    statuses = {name: int(words[words.index(name) + 1]) for words in drawn for name in words if name.endswith("Error")}
    assert statuses == {kind.__name__: kind.exit_status for kind in tree()}


def test_a_message_becomes_one_line() -> None:
    """Newlines and runs of spaces become one space, the final full stop goes, and 300 characters are enough."""
    assert one_line(ValueError("bad\n  shape:\t(3, 4).")) == "bad shape: (3, 4)"
    assert len(one_line("x" * 999)) == 300


def test_a_message_of_torchscript_is_what_it_met() -> None:
    """Not the trace of its interpreter, in which it is the last line."""
    pages = "It failed.\nTraceback of TorchScript (most recent call last):\n  File x\nRuntimeError: no."
    assert one_line(f"RuntimeError: {pages}\n") == "RuntimeError: no"
