"""Addresses of Dask schedulers."""

import pytest

from flows.processes.dask_address import LOCAL, host_seen_from, is_this_machine
from tasks.core.errors import SpecError


@pytest.mark.parametrize(
    ("address", "is_here"),
    [(LOCAL, True), ("tcp://127.0.0.1:8786", True), ("tcp://localhost:1", True), ("tcp://192.0.2.1:8786", False)],
)
def test_workers_here_or_elsewhere(address: str, is_here: bool) -> None:
    """By the address alone."""
    assert is_this_machine(address) == is_here


def test_loopback_where_there_is_no_other_machine() -> None:
    """And for a scheduler on it."""
    assert host_seen_from(None) == host_seen_from(LOCAL) == host_seen_from("tcp://127.0.0.1:8786") == "127.0.0.1"


@pytest.mark.parametrize(
    ("address", "says"),
    [("localhost", "is no address"), ("tcp://host", "is no address"), ("tcp://no.such.invalid:1", "can't be found")],
)
def test_what_is_no_address_is_refused(address: str, says: str) -> None:
    """In one sentence."""
    with pytest.raises(SpecError, match=says):
        host_seen_from(address)
