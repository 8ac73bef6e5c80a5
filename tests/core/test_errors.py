"""Errors as sentences."""

from tasks.core.errors import one_line


def test_a_message_becomes_one_line() -> None:
    """Newlines and runs of spaces become one space, the final full stop goes, and 300 characters are enough."""
    assert one_line(ValueError("bad\n  shape:\t(3, 4).")) == "bad shape: (3, 4)"
    assert len(one_line("x" * 999)) == 300
