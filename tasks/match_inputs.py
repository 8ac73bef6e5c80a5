"""In place of an export: read a file that somebody else made, and find the module's inputs and outputs in it."""

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.onnx_files.reading import read_graph
from tasks.core.records.steps import Candidate
from tasks.step import step

if TYPE_CHECKING:
    from tasks.core.inputs.choice import Inputs
    from tasks.core.inputs.matching import Matcher


@step(
    seconds=600,
    says=lambda matched: ", ".join(map(str, matched[1].specs)),
    keeps=lambda matched: {"graph": matched[0].graph},
)
def match_inputs(file: Path, matcher: "Matcher") -> "tuple[Candidate, Inputs]":
    """Read the file's inputs and outputs, and match them with the module's.

    Args:
        file: an `.onnx` file.
        matcher: of the module.

    Raises:
        SpecError: it is no ONNX file.
        InputsError: nothing says what an input of the file is, or the module refuses it.
    """
    return matcher.match(read_graph(file))
