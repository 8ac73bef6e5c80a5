"""Between the verdict and the record: how long a run of the proven file takes, beside PyTorch."""

from typing import TYPE_CHECKING

from tasks.core.records.latency import Latency
from tasks.core.records.steps import Candidate
from tasks.core.reports.wording import latency_sentence
from tasks.step import step

if TYPE_CHECKING:
    from tasks.core.inputs.inputs import Inputs
    from tasks.core.reference.module import BuiltModule


@step(seconds=600, says=latency_sentence, keeps=lambda latency: {"latency": latency})
def measure_latency(candidate: Candidate, module: "BuiltModule", inputs: "Inputs") -> Latency:
    """Time the file and the module in turn; what can't be timed has a reason, and nothing is judged by it.

    Args:
        candidate: the file, which is proven.
        module: with its network still there.
        inputs: of it.
    """
    from tasks.core.speed.latency import measure

    return measure(candidate, module, inputs)
