"""A full disk is said in one sentence, wherever it is met; /dev/full is one."""

from pathlib import Path

import pytest

from flows.outcomes import outcome
from tasks.core.errors import ServiceError
from tasks.core.records.steps import ExportResult
from tasks.mlflow_store.store import service_errors


def write() -> ExportResult:
    """Write to a disk without room."""
    Path("/dev/full").write_text("x")
    raise AssertionError("there was room")


def test_a_store_on_a_full_disk_is_a_service_that_fails() -> None:
    """As one that can't be reached: the sweep ends with what was finished, and --resume goes on."""
    with (
        pytest.raises(ServiceError, match=r"could not be written to \(.*No space left.*\); make room"),
        service_errors(),
    ):
        write()


def test_an_export_on_a_full_disk_is_no_defect() -> None:
    """The result says what to do."""
    result = outcome(write, "net")
    assert result.verdict == "error"
    assert result.reason == "net found no room on the disk ([Errno 28] No space left on device); make some, and go on."
