"""Step 3: choose example inputs, and plan the probes; or find the inputs in a file that somebody else made."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.records.steps import Candidate
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.step import step

if TYPE_CHECKING:
    from tasks.core.inputs.inputs import Inputs
    from tasks.core.inputs.matching import Matcher
    from tasks.core.reference.module import BuiltModule


@step(seconds=600, says=lambda inputs: ", ".join(map(str, inputs.specs)))
def create_inputs(spec: ResolvedSpec, module: "BuiltModule") -> "Inputs":
    """Choose names, dtypes, sizes and probes; note how much memory a run of the module takes.

    Args:
        spec: what was asked for.
        module: is run at the sizes to prove.
    """
    from tasks.core.inputs.choice import choose_inputs
    from tasks.core.runtime.reservations import Growth

    with Growth() as growth:
        inputs = choose_inputs(spec, module.network)
    return replace(inputs, run_bytes=growth.num_bytes)


@step(
    seconds=600,
    says=lambda matched: ", ".join(map(str, matched[1].specs)),
    keeps=lambda matched: {"graph": matched[0].graph},
)
def match_inputs(file: Path, matcher: "Matcher") -> "tuple[Candidate, Inputs]":
    """Read the inputs and outputs of somebody else's file, and match them with the module's.

    Args:
        file: an `.onnx` file.
        matcher: of the module.

    Raises:
        SpecError: it is no ONNX file.
        InputsError: nothing says what an input of the file is, or the module refuses it.
    """
    from tasks.core.onnx_files.reading import read_graph
    from tasks.core.onnx_files.value_sizes import check_values

    candidate, inputs = matcher.match(read_graph(file))
    names = candidate.file_inputs
    check_values(file, {names.get(name, name): array.shape for name, array in inputs.traced_arrays().items()})
    return candidate, inputs
