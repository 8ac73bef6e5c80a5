"""HTML page of one export, as MLflow shows it: the verdict first, then every number behind it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.core.records.evidence import Evidence, OutputEvidence
from tasks.core.records.steps import Graph, LoadReport, Weights
from tasks.core.reports.error_plot import ErrorPlot, error_plot
from tasks.core.reports.markdown import VERDICT_MARKS
from tasks.core.reports.pages import number, render
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.input_spec import FLOAT_DTYPES

REPRODUCTION = ("culprit.onnx", "inputs.npz", "expected.npz", "reproduce.py")
"""What lies in the run's folder `reproduction/` where a node is to blame."""
_MANY_OUTPUTS = 4
"""With more than these only the wrong ones are unfolded."""


@dataclass(frozen=True)
class _Output:
    """One output, as its section shows it."""

    evidence: OutputEvidence
    dtype: str
    is_exact: bool
    """Integers and bools are equal or not; they have no scale of errors."""
    mark: str
    """Whether its errors lie within the limits, in words."""
    colour: str
    is_constant: bool
    """It is meant not to depend on the input."""
    plot: ErrorPlot | None


def html_report(
    spec: ResolvedSpec,
    graph: Graph,
    evidence: Evidence,
    *,
    weights: Weights,
    report: LoadReport,
    provenance: Mapping[str, str],
    changed: tuple[str, ...],
    seconds: Mapping[str, float] | None = None,
    file: str | None = None,
) -> str:
    """Write one self-contained page: verdict, parity per output, dims, keys, provenance.

    Args:
        spec: what was asked for.
        graph: the file.
        evidence: what was measured on it.
        weights: where they come from.
        report: what became of each key.
        provenance: facts in the file's own metadata, by name.
        changed: entries of the champion's manifest that are no longer true.
        seconds: spent per step.
        file: path of a file that was only verified; None: it was exported.
    """
    dtypes = {value.name: value.dtype for value in graph.outputs}
    outputs = [
        _output(output, evidence, dtype=dtypes.get(output.name, "float32"), constant=spec.constant_outputs)
        for output in evidence.outputs
    ]
    return render(
        "report.html.j2",
        spec=spec,
        weights=weights,
        report=report,
        graph=graph,
        evidence=evidence,
        provenance={key.removeprefix("assay."): value for key, value in sorted(provenance.items())},
        changed=changed,
        seconds=seconds or {},
        file=Path(file).name if file else None,
        mark=VERDICT_MARKS[evidence.verdict],
        sentence=verdict_sentence(evidence),
        outputs=outputs,
        unfold_all=len(outputs) <= _MANY_OUTPUTS,
        reproduction=REPRODUCTION,
    )  # fmt: skip


def verdict_sentence(evidence: Evidence) -> str:
    """The verdict in one sentence, for somebody who knows neither ONNX nor floating point."""
    if evidence.verdict == "fail":
        return "The file does not compute what the PyTorch model computes. Do not use it."
    if evidence.verdict == "inconclusive":
        return "Nothing wrong was found, but the tests could not have seen every mistake: the file is not proven."
    if evidence.noise_ratio == 0:
        return "The file computes what the PyTorch model computes: no difference was found."
    return (
        f"The file computes what the PyTorch model computes: its largest error is {number(evidence.noise_ratio)} "
        f"times what float32 rounding alone explains (limit {evidence.noise_limit:g})."
    )


def _output(output: OutputEvidence, evidence: Evidence, *, dtype: str, constant: Collection[str]) -> _Output:
    is_exact = dtype not in FLOAT_DTYPES
    is_inside = output.noise_ratio <= evidence.noise_limit and output.slice_ratio <= evidence.slice_limit
    mark, colour = ("✔ within the limits", "good") if is_inside else ("✘ beyond the limits", "bad")
    if not output.families:
        mark, colour = "– not compared", "doubt"
    return _Output(
        evidence=output,
        dtype=dtype,
        is_exact=is_exact,
        mark=mark,
        colour=colour,
        is_constant=output.name in constant,
        plot=None if is_exact or not output.families else error_plot(output.families, evidence.noise_limit),
    )
