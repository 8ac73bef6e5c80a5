"""A record that crosses a border can neither change nor hold what nobody declared."""

import math

import pytest
from pydantic import ValidationError

from tasks.core.records.record import Record
from tests.core.reports.report_records import make_evidence, make_family, make_output


class Point(Record):
    """A record."""

    x: int


def test_a_record_is_frozen() -> None:
    """Whoever holds it can rely on it."""
    with pytest.raises(ValidationError, match="frozen"):
        Point(x=1).x = 2  # type: ignore[misc]


def test_a_record_takes_no_other_field() -> None:
    """A misspelt field is an error, not ignored."""
    with pytest.raises(ValidationError, match="y\n  Extra inputs"):
        Point(x=1, y=2)  # type: ignore[call-arg]


def test_a_record_survives_json() -> None:
    """What was written is read back equal."""
    evidence = make_evidence(make_output(noise_ratio=3.5))
    assert type(evidence).model_validate_json(evidence.model_dump_json()) == evidence


def test_evidence_knows_its_worst_output() -> None:
    """The largest noise ratio of any output that was compared, NaN above all; none where nothing was."""
    evidence = make_evidence(make_output("a", noise_ratio=1.5), make_output("b", noise_ratio=2.5))
    assert evidence.noise_ratio == 2.5
    not_a_number = make_output("c", noise_ratio=math.nan)
    assert math.isnan(make_evidence(not_a_number, *evidence.outputs).noise_ratio or 0.0)
    for outputs in ((), (make_output("a", make_family(num_elements=0)),)):
        assert evidence.model_copy(update={"outputs": outputs}).noise_ratio is None
