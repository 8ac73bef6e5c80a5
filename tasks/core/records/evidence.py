"""The records of a proof: what was measured on a file, and the verdict."""

from typing import Literal

from tasks.core.arrays import worst
from tasks.core.records.record import Record


class FamilyParity(Record):
    """How one output compares over one family of probes, pooled over its sizes and seeds."""

    family: str
    noise_ratio: float
    """relative error of ONNX Runtime / max(relative error of torch float32, eps of the output's dtype)."""
    slice_ratio: float
    """The worst noise ratio of any slice along a non-batch axis."""
    worst_slice: str = ""
    """Axis and index of that slice, or the sizes of its elements."""
    borrowed_ratio: float = 0.0
    """The worst ratio to its own noise of a slice without a scale, which is held to a rounding of the whole."""
    relative_error: float
    """rms(onnx - float64) / rms(float64)."""
    torch_relative_error: float
    """rms(torch32 - float64) / rms(float64), runs with perturbed weights included."""
    max_abs_difference: float
    """max |onnx - torch32| over finite elements."""
    max_rel_difference: float
    """max |onnx - torch32| / max(|torch32|, rms(torch32)) over finite elements."""
    cosine: float
    """Cosine between onnx and torch32, in float64."""
    num_elements: int
    num_probes: int
    mismatched_share: float = 0.0
    """Integer and bool outputs: share of elements that differ from torch32 without excuse."""
    unstable_share: float = 0.0
    """Share of elements that hang on a rounding, so that the module's own runs differ and none explains the file's."""
    dtype: str = "float32"
    """Of the output: the noise is its."""

    @property
    def is_exact(self) -> bool:
        """Are these integers or truth values, which have no noise?"""
        return "float" not in self.dtype


class Power(Record):
    """Could the probes have seen a difference? Judged over normal, ranged and sample families."""

    movement: float
    """rms of the change of the output between two inputs / noise of torch float32; of the families the largest."""
    families: dict[str, float] = {}
    """The same, per family."""
    finite: bool
    num_elements: int
    zero_share: float = 0.0
    """Share of elements that are exactly zero."""
    saturated_share: float = 0.0
    """Share of elements that are exactly the output's largest or smallest value."""


class Detections(Record):
    """How an output sized by data was matched, item by item."""

    num_reference: int
    """Items that torch32 found over all probes."""
    num_matched: int
    num_excused: int
    """Unmatched, but on the edge of a threshold in float64."""
    num_unmatched: int
    """Unmatched without excuse."""
    lowest_iou: float
    """Of the matched boxes."""


class BlockPower(Record):
    """How far the branch of one residual block moves with the input."""

    path: str
    """Module path of the addition that ends the block."""
    source: str
    """`file.py:LINE` of the addition."""
    movement: float
    """rms of the change of the branch between two inputs / one rounding (eps32) of the sum."""


class OutputEvidence(Record):
    """All that was measured on one output."""

    name: str
    noise_ratio: float
    """The worst family's."""
    slice_ratio: float
    max_abs_difference: float
    cosine: float
    families: tuple[FamilyParity, ...]
    power: Power
    top1_agreement: float | None = None
    """Class scores: share of rows in which ONNX Runtime and PyTorch agree on the largest."""
    top1_flip_margin: float | None = None
    """Largest float64 margin, relative to the output's rms, at which they disagreed."""
    top5_agreement: float | None = None
    """Class scores: mean share of PyTorch's five largest that are among ONNX Runtime's."""
    mask_iou: float | None = None
    """Score maps: lowest intersection over union, over the classes, of the pixels given to a class."""
    detections: Detections | None = None
    """Outputs sized by data: how their items were matched."""

    @property
    def is_compared(self) -> bool:
        """Was any element held against the module's? Where none was, the figures above say nothing."""
        return any(family.num_elements for family in self.families)


class DimProof(Record):
    """A dynamic dimension that was asked for, and the sizes at which the file was right."""

    name: str
    input: str
    axis: int
    in_file: bool
    """The file declares this axis as dynamic."""
    sizes: tuple[int, ...]
    refused_by_model: tuple[int, ...] = ()
    """Sizes at which the PyTorch module itself raises."""


class MissingWeight(Record):
    """A weight of which the file does not have every element."""

    name: str
    num_elements: int
    num_missing: int
    """Elements that are in no constant of the file, neither as they are nor folded."""
    num_unexercised: int
    """Those of them on which no probe's answer depends by more than its noise."""
    first: tuple[int, ...] = ()
    """Index of the first missing element, of the first unexercised one if there is any."""
    constant: str = ""
    """Name of the constant that should be the weight and is not; empty: there is none, or it is made up for."""


class Coverage(Record):
    """Which of the weights that forward uses are in the file, and which of the others some probe exercised."""

    num_weights: int
    """Parameters and buffers that forward uses."""
    identical: int = 0
    """Equal, element by element, in the same order."""
    rearranged: int = 0
    """Equal after an exchange of axes, cut into several constants, or packed with others into one."""
    narrowed: int = 0
    """Equal after rounding to the dtype of the file."""
    folded: int = 0
    """Multiplied with the statistics of a normalisation, or computed with from other weights, within rounding."""
    missing: tuple[MissingWeight, ...] = ()
    unexplained: tuple[str, ...] = ()
    """Constants of the file of 16 and more floats that no weight explains."""
    share: float = 1.0
    """Of the elements of all weights: those in the file, and those that a probe exercised."""

    @property
    def sentence(self) -> str:
        """In one sentence, for a reader."""
        kinds = {"identical": self.identical, "rearranged": self.rearranged, "narrowed": self.narrowed}
        parts = [f"{count} {kind}" for kind, count in (*kinds.items(), ("folded", self.folded)) if count]
        found = self.num_weights - len(self.missing)
        held = (
            f"{found} of {self.num_weights} weights are in the file"
            if self.missing
            else (
                f"all {self.num_weights} weights are in the file" if self.num_weights else "the module has no weights"
            )
        )
        rest = sum(weight.num_unexercised == 0 for weight in self.missing)
        also = f"; probes exercised {rest} of the other {len(self.missing)}" if self.missing else ""
        return f"{held}{': ' + ', '.join(parts) if parts else ''}{also}"


class ProbeRecord(Record):
    """One probe that was run."""

    family: str
    seed: int
    sizes: dict[str, int]
    """Size of each dynamic dimension."""
    levels: tuple[str, ...]
    """ONNX Runtime optimisation levels: off, basic, extended, all."""


class Values(Record):
    """A tensor in short."""

    dtype: str
    shape: tuple[int, ...]
    rms: float
    worst: tuple[float, ...]
    """At most 8 of its elements: those where found and expected differ most, in their order."""


class Blame(Record):
    """The first node of a wrong file whose own error exceeds its noise."""

    node: str = ""
    """Its name in the file; empty: no node can be named."""
    op_type: str = ""
    module_path: str = ""
    """Path of the PyTorch module that computes the same, as `named_modules` gives it."""
    module_class: str = ""
    source: str = ""
    """`package/file.py:LINE` of the call in the model's own code; empty: unknown."""
    kind: Literal["node", "weights", "wiring", "output", "optimiser", "unknown"]
    """What is wrong: what the node computes, its weights, what it is fed, which value an output shows, or what a pass
    of ONNX Runtime's optimisation makes of the node."""
    parameter: str = ""
    """Weights: name of the parameter whose values differ."""
    passes: tuple[str, ...] = ()
    """Optimiser: names of the wrong passes, as `disabled_optimizers` of a session takes them."""
    level: str = ""
    """Optimiser: the level of optimisation at which they were seen to be wrong."""
    own_ratio: float
    """Noise ratio of the node's output, its inputs fed from PyTorch; optimiser: of the file's."""
    found: Values | None = None
    expected: Values | None = None
    sentence: str
    """What a reader is told."""


class Evidence(Record):
    """What validation measured, and the verdict that follows from it."""

    verdict: Literal["pass", "fail", "inconclusive"]
    reasons: tuple[str, ...]
    """One sentence each: why not `pass`; empty on `pass`."""
    outputs: tuple[OutputEvidence, ...]
    dims: tuple[DimProof, ...] = ()
    probes: tuple[ProbeRecord, ...] = ()
    blocks: tuple[BlockPower, ...] = ()
    """Residual blocks, in the order in which they run."""
    skipped: tuple[str, ...] = ()
    """Planned probes that were not run, each with the reason: proving took too long, the module refuses it…"""
    notes: tuple[str, ...] = ()
    """What a reader should know besides, a weaker floor than float64 among it."""
    coverage: Coverage | None = None
    """Of the weights; None: they could not be looked at, as a note says."""
    floor: str = "float64"
    """What measured the noise: float64, float64 but for some operators, or perturbed float32 runs."""
    blame: Blame | None = None
    """On `fail`: where the file goes wrong."""
    noise_limit: float
    slice_limit: float
    movement_limit: float
    random_weights: bool = False

    @property
    def noise_ratio(self) -> float | None:
        """The worst noise ratio of any output, NaN above all; None where nothing was compared."""
        ratios = [output.noise_ratio for output in self.outputs if output.is_compared]
        return worst(ratios) if ratios else None
