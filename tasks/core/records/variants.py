"""What is asked of a variant of a proven file, and what was measured on it."""

import math
from typing import Literal

from tasks.core.records.latency import Timing
from tasks.core.records.record import Record

Kind = Literal["slim", "fp16", "int8", "int8-static"]
Method = Literal["minmax", "percentile", "entropy"]
Verdict = Literal["pass", "fail", "inconclusive"]
Measure = Literal["accuracy", "agreement", "masks", "neighbours", "relative-error"]


DOUBTFUL = 0.02
"""Share of the samples of which the proven file is surest that may bear another label."""


class VariantTerms(Record):
    """What decides a variant beside the file that it is made of."""

    kind: Kind
    calibrate: str | None = None
    """`.npz`, folder of `.npz` or of pictures, or `file.py:function`; for `int8-static`."""
    evaluate: str | None = None
    """Likewise: what the loss is measured on; None: it is not, and no lossy variant can pass."""
    measure: Measure | None = None
    """What the loss is counted by; None: as the labels and the first output have it."""
    budget: float = 0.01
    """The loss that is allowed, as a share."""
    method: Method = "minmax"
    """How the ranges of `int8-static` follow from the calibration."""
    io_fp16: bool = False
    """Inputs and outputs are half precision, too."""
    within_budget: bool = False
    """Keep the nodes that lose most in float32, one after another, until the loss is within the budget."""


class DataRecord(Record):
    """Which data were used."""

    origin: str
    """Base name of the file or folder, or `file.py:function`."""
    sha256: str
    """Of all arrays and labels."""
    num_samples: int
    has_labels: bool


class Loss(Record):
    """What a variant costs the task, paired with the proven file on the same samples."""

    measure: Measure
    """accuracy: labels are there. agreement: how often the first choice flips. masks: mean overlap of the classes of a
    sample. neighbours: of the ten nearest of an embedding. relative-error: of the first output, a sample."""
    num_samples: int
    loss: float
    """Share that is lost: a difference of accuracies, or the mean over samples."""
    low: float
    """Ends of the 95 % interval."""
    high: float
    budget: float
    num_worse: int | None = None
    """Samples that were right and are wrong, or whose first choice flips."""
    num_better: int | None = None
    """Samples that were wrong and are right."""
    p_value: float | None = None
    """Of McNemar's exact test that as many get better as get worse."""
    num_close: int | None = None
    """Of the flips those whose margin in the proven file is below its median."""
    num_surest: int | None = None
    """Samples with labels of which the proven file is surest: the half with the largest margins."""
    num_doubtful: int | None = None
    """Of these, those whose label is another class: labels are wrong there, or the model is."""
    num_deciding: int | None = None
    """Of an undecided one: about how many samples would decide; None: none known."""

    @property
    def doubt(self) -> str:
        """What makes the labels doubtful; empty: nothing does."""
        if not self.num_surest or (self.num_doubtful or 0) <= DOUBTFUL * self.num_surest:
            return ""
        return (
            f"of the {self.num_surest:,} samples of which the proven file is surest, {self.num_doubtful:,} bear "
            f"another label: look at them"
        )

    @property
    def verdict(self) -> Verdict:
        """Within the budget, beyond it, or neither for sure."""
        if self.high <= self.budget:
            return "pass"
        return "fail" if self.low > self.budget else "inconclusive"


class AsDeclared(Record):
    """Does ONNX Runtime compute what the graph says?"""

    levels: float
    """What optimising the graph changes, as a multiple of what the variant itself changes."""
    company: float
    """What the other rows of a batch change in a row, likewise."""
    limit: float
    dynamic_scales: bool = False
    """The scales of activations are taken from the batch, so that company does change a row."""

    @property
    def failure(self) -> str:
        """What is wrong; empty: nothing."""
        if not self.levels <= self.limit:
            said = "ONNX Runtime's optimised graph answers otherwise than its operators"
            return f"{said}, {self.levels:.2g} times what the variant changes"
        if not self.company <= self.limit and not self.dynamic_scales:
            return f"a row's answer depends on the other rows of its batch, {self.company:.2g} times what it changes"
        return ""


class NodeLoss(Record):
    """What one node adds when it alone is in lower precision."""

    node: str
    operator: str
    error: float
    """Relative error of the outputs."""


class Suspect(Record):
    """A weight, or the grid of an activation, that is coarser by itself than it has to be."""

    name: str
    """Of the quantised weight, or of the value that is quantised."""
    kind: Literal["weight", "activation"]
    ratio: float
    """Its error, as a multiple of the least."""


class Precision(Record):
    """Is the variant as good as its precision can be?"""

    error: float
    """Relative error of the outputs against the proven file's."""
    ideal: float
    """Of an ideal simulation: scales of weights with the least error, activations with their true ranges."""
    limit: float
    suspects: tuple[Suspect, ...] = ()
    """Worst first."""
    unrepaired: float = 0.0
    """Error on few samples, operator by operator; of a file with suspects."""
    repaired: float = 0.0
    """Likewise, with all suspects as they should be."""
    gain_limit: float = 0.0
    """Up to which the one may be a multiple of the other."""

    @property
    def ratio(self) -> float:
        """Near 1: the precision is the limit."""
        if not math.isfinite(self.error):
            return math.inf
        return self.error / self.ideal if self.ideal else math.inf if self.error else 1.0

    @property
    def failure(self) -> str:
        """What is wrong; empty: nothing."""
        worst = f"; the worst is {self.suspects[0].name}" if self.suspects else ""
        if not self.ratio <= self.limit:
            return f"its error is {self.ratio:.1f} times what this precision allows, so it was converted badly{worst}"
        if self.suspects and not self.unrepaired <= self.gain_limit * self.repaired:
            share = 1 - self.repaired / self.unrepaired
            return (
                f"{share:.0%} of its error comes of scales and weights that are off, so it was converted badly{worst}"
            )
        return ""


class TradeOff(Record):
    """A proven file or a variant of it, in a table of all of them."""

    name: str
    """Of the registered model, or of a file."""
    version: str | None
    verdict: Verdict
    size_bytes: int
    latency_ms: float | None = None
    """Of a run of one row; None: not measured."""
    loss: float | None = None
    """None: nothing is lost, or it was not measured."""
    high: float | None = None
    """Upper end of its 95 % interval."""


class Attempted(Record):
    """One step on the way to the budget."""

    kept: tuple[str, ...]
    """Nodes in float32."""
    loss: float
    high: float


class VariantEvidence(Record):
    """What was measured on a variant."""

    verdict: Verdict
    reasons: tuple[str, ...]
    claim: str = ""
    """What may be said of it, in one sentence."""
    source: str
    """`NAME version N` of the proven file, for a reader."""
    source_name: str | None = None
    """Its registered model; None: it is not registered."""
    source_version: str | None = None
    source_sha256: str
    terms: VariantTerms
    calibration: DataRecord | None = None
    evaluation: DataRecord | None = None
    declared: AsDeclared | None = None
    precision: Precision | None = None
    loss: Loss | None = None
    where: tuple[NodeLoss, ...] = ()
    """Worst first."""
    kept: tuple[str, ...] = ()
    """Nodes that stay in float32."""
    path: tuple[Attempted, ...] = ()
    """How the budget was reached, or not."""
    source_latency: Timing | None = None
    """Of a run of the proven file on one row; None: not measured."""
    latency: Timing | None = None
    """Of the variant, by turns with it."""
    source_bytes: int = 0
    size_bytes: int = 0
