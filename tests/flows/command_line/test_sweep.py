"""What a sweep shows while it runs."""

import pytest

from flows.command_line.sweep import SweepDisplay
from tasks.core.records.steps import ExportResult


def result(name: str, *, unchanged: bool = False) -> ExportResult:
    """A proven model."""
    return ExportResult(name=name, verdict="pass", reason="", unchanged=unchanged)


def test_the_time_left_goes_by_what_models_cost(capsys: pytest.CaptureFixture[str]) -> None:
    """The costliest come first: after nine tenths of the work in 90 s another 10 s are left, not three times 90."""
    now = 0.0
    display = SweepDisplay(to_stderr=False)
    display._progress.get_time = lambda: now
    display.progress(5)
    display.swept(result("known", unchanged=True))
    display.planned({"large": 90.0, "small": 5.0, "smaller": 4.0, "smallest": 1.0})
    now = 90.0
    display.swept(result("large"))
    now = 95.0
    display.swept(result("small"))
    for name in ("smaller", "smallest"):
        display.swept(result(name))
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert [line.partition("about ")[2] for line in lines] == ["", "10 s left", "5 s left", "1 s left", ""]
    assert "unchanged" in lines[0]
