"""Step 3: choose example inputs, and plan the probes that validation will use."""

from dataclasses import replace
from typing import TYPE_CHECKING

from tasks.core.spec.export_spec import ResolvedSpec
from tasks.step import step

if TYPE_CHECKING:
    from tasks.core.inputs.choice import Inputs
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
