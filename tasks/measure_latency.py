"""Between the verdict and the record: how long a run of the proven file takes, beside PyTorch."""

import logging
from typing import TYPE_CHECKING

from tasks.core.provenance.attempts import Attempt
from tasks.core.records.steps import Candidate

if TYPE_CHECKING:
    from tasks.core.inputs.inputs import Inputs
    from tasks.core.reference.module import BuiltModule

log = logging.getLogger("assay")


def measure_latency(attempt: Attempt, candidate: Candidate, *, module: "BuiltModule", inputs: "Inputs") -> None:
    """Time the file and the module in turn, and note it in the attempt; no step, as nothing hangs on it.

    What is not proven is not timed; what can't be timed has a reason.

    Args:
        attempt: gets the figures.
        candidate: the file.
        module: with its network still there.
        inputs: of it.
    """
    if attempt.verdict != "pass":
        return
    from tasks.core.speed.latency import measure

    log.debug("measure_latency …", extra={"step": "measure_latency"})
    attempt.latency = measure(candidate, module, inputs)
