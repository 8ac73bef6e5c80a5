"""Sentences that every page has in common."""

from tasks.core.records.evidence import Evidence
from tasks.core.records.latency import Latency, Timing
from tasks.core.reports.numbers import number

VERDICT_MARKS = {"pass": "✔ pass", "fail": "✘ fail", "inconclusive": "? inconclusive", "error": "✘ error"}
EQUALLY_FAST = "equally fast"
_DRIFT = 1.1
"""Ratio of two medians, taken at different times, up to which they are called equal."""
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


def latency_sentence(latency: Latency) -> str:
    """How long a run takes by ONNX Runtime and by PyTorch, and how they compare; or why that is not known."""
    if latency.onnx is None or latency.torch is None:
        return f"not timed: {latency.reason}"
    batch = "" if latency.batch_size is None else f"batch {latency.batch_size}, "
    threads = f"{latency.threads} thread{'' if latency.threads == 1 else 's'}"
    return (
        f"{number(latency.onnx.median_ms)} ms by ONNX Runtime, {number(latency.torch.median_ms)} ms by PyTorch: "
        f"{beside(latency.onnx, latency.torch)} ({batch}{threads})"
    )


def beside(timing: Timing, other: Timing) -> str:
    """How fast one is beside another one; where their intervals meet there is no difference.

    Args:
        timing: of the one.
        other: of the other one.
    """
    if timing.low_ms <= other.high_ms and other.low_ms <= timing.high_ms:
        return EQUALLY_FAST
    if timing.median_ms < other.median_ms:
        return f"{number(other.median_ms / timing.median_ms)} times as fast"
    return f"{number(timing.median_ms / other.median_ms)} times as slow"


def latency_change(before: Latency | None, now: Latency | None) -> str:
    """How fast one version's file is beside an earlier one's; empty where one was not timed, or on other terms.

    Args:
        before: of the earlier one.
        now: of this one.
    """
    if before is None or now is None or before.onnx is None or now.onnx is None or _terms(before) != _terms(now):
        return ""
    shares = sorted((before.onnx.median_ms, now.onnx.median_ms))
    found = EQUALLY_FAST if shares[1] <= _DRIFT * shares[0] else beside(now.onnx, before.onnx)
    return f"{number(before.onnx.median_ms)} ms became {number(now.onnx.median_ms)} ms, {found}"


def _terms(latency: Latency) -> tuple[object, ...]:
    return latency.cpu, latency.threads, latency.batch_size, sorted(latency.shapes.values())
