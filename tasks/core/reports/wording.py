"""Sentences that every page has in common."""

from tasks.core.records.evidence import Evidence
from tasks.core.reports.numbers import number

VERDICT_MARKS = {"pass": "✔ pass", "fail": "✘ fail", "inconclusive": "? inconclusive", "error": "✘ error"}
RANDOM_WEIGHTS = "The weights are random: what is tested is the export, not a trained model."


def verdict_sentence(evidence: Evidence) -> str:
    """The verdict in one sentence, for somebody who knows neither ONNX nor floating point."""
    if evidence.verdict == "fail":
        return "The file does not compute what the PyTorch model computes. Do not use it."
    if evidence.verdict == "inconclusive":
        return "Nothing wrong was found, but the tests could not have seen every mistake: the file is not proven."
    if not evidence.noise_ratio:
        return "The file computes what the PyTorch model computes: no difference was found."
    return (
        f"The file computes what the PyTorch model computes: its largest error is {number(evidence.noise_ratio)} "
        f"times what float32 rounding alone explains (limit {evidence.noise_limit:g})."
    )


def error_sentence(evidence: Evidence) -> str:
    """The largest error of any output, in words; or that nothing was compared."""
    if evidence.noise_ratio is None:
        return "No output was compared, so no error was measured."
    return (
        f"Worst noise ratio {evidence.noise_ratio:.2f} of at most {evidence.noise_limit:g} "
        f"(error of ONNX Runtime as a multiple of float32's own rounding)."
    )
