"""A result says what is wrong with it, and NaN never looks better than a number."""

import math

import pytest

from tasks.core.records.steps import ErrorRecord, ExportResult, Release, TensorType
from tests.core.reports.report_records import make_evidence, make_family, make_graph, make_output


def test_a_proven_file_has_no_complaint() -> None:
    """Nothing is wrong, whatever the reason says."""
    assert ExportResult(name="net", verdict="pass", reason="unchanged").complaint == ""


def test_a_complaint_is_one_sentence() -> None:
    """The error's own message, else the verdict with its reason."""
    assert (
        ExportResult(name="net", verdict="fail", reason="y is off").complaint == "net is not proven (fail): y is off."
    )
    error = ErrorRecord(type="SpecError", message="There is no file net.py.")
    assert ExportResult(name="net", verdict="error", error=error).complaint == "There is no file net.py."


@pytest.mark.parametrize(
    ("ratios", "worst"), [((1.5, 3.0, 2.0), 3.0), ((1.0, math.inf), math.inf), ((math.nan, 5.0), math.nan)]
)
def test_the_worst_output_counts(ratios: tuple[float, ...], worst: float) -> None:
    """The largest ratio of any output; NaN is above all, in whatever place it stands."""
    for ordered in (ratios, ratios[::-1]):
        outputs = [make_output(f"y{i}", noise_ratio=ratio, slice_ratio=1.0) for i, ratio in enumerate(ordered)]
        result = ExportResult(name="net", verdict="fail", evidence=make_evidence(*outputs))
        assert result.worst("noise_ratio") == pytest.approx(worst, nan_ok=True)
        assert result.worst("slice_ratio") == 1.0


def test_without_evidence_there_is_nothing_worst() -> None:
    """No figure is made up where none was taken; there are no notes of a proof either."""
    result = ExportResult(name="net", verdict="error", graph=make_graph())
    assert result.worst("noise_ratio") is None
    empty = make_evidence(make_output("y", make_family(num_elements=0, noise_ratio=0.0)))
    assert ExportResult(name="net", verdict="fail", evidence=empty).worst("noise_ratio") is None
    assert result.parity == {}
    assert result.notes == ()


def test_notes_are_of_the_file_and_of_its_proof() -> None:
    """The file's own come first."""
    evidence = make_evidence(notes=("a note on the proof",))
    result = ExportResult(name="net", verdict="pass", graph=make_graph(), evidence=evidence)
    assert result.notes == ("a note on the file", "a note on the proof")


def test_a_page_is_the_versions_where_there_is_one() -> None:
    """Else the run's."""
    assert Release(run_id="1", run_url="run").page == "run"
    assert Release(run_id="1", run_url="run", version_url="version").page == "version"


def test_a_tensor_type_reads_as_on_the_command_line() -> None:
    """Name, dtype and dims."""
    assert str(TensorType(name="x", dtype="float32", dims=("batch", 3))) == "x: float32[batch, 3]"
