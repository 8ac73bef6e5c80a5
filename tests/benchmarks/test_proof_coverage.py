"""The table of proof coverage counts honestly, goes on where it stopped, and refuses a pass that left something out."""

import json
import sys
from pathlib import Path

import pytest
from torchvision import models

from tests.benchmarks import proof_coverage
from tests.benchmarks.proof_coverage import TORCHVISION, line, table, uncovered

WHOLE = {
    "model": "a", "exporter": "dynamo", "verdict": "pass", "reason": "", "weights": 4, "identical": 3, "rearranged": 0,
    "narrowed": 0, "folded": 0, "exercised": 1, "unaccounted": 0, "covered": 1.0, "unexplained": [], "s": 2,
    "missing": [{"name": "last.weight", "num_unexercised": 0}],
}  # fmt: skip


def test_forty_models_of_all_families() -> None:
    """Each name is torchvision's, and each of its modules has some."""
    names = [entry.name for entry in TORCHVISION]
    assert len(set(names)) == len(names) == 40
    assert set(names) <= set(models.list_models())
    kinds = (models.segmentation, models.video, models.optical_flow, models.detection, models.quantization)
    assert all(set(names) & set(models.list_models(kind)) for kind in kinds)


def test_a_pass_that_is_not_covered_is_told() -> None:
    """By an element, or because nothing is known of the weights; what did not pass is no matter."""
    almost = {**WHOLE, "covered": 1 - 1e-9}
    unknown = {"model": "b", "exporter": "dynamo", "verdict": "pass", "reason": "", "s": 1}
    failed = {**almost, "verdict": "inconclusive", "reason": "who knows"}
    assert uncovered([WHOLE, almost, unknown, failed]) == [almost, unknown]
    assert line(almost).count("99.99 %") == line(WHOLE).count("100 %") == 1
    text = table([WHOLE, almost, unknown, failed])
    assert "**1 of 3 files that pass have every element" in text
    assert "- a, dynamo: inconclusive: who knows" in text
    assert "last.weight" in text
    assert "Not measured yet: digits (torchscript), digits (dynamo), " in text


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that are there are not measured again; the table has old and new ones, and the exit status judges all."""
    rows, target = tmp_path / "rows.json", tmp_path / "table.md"
    rows.write_text(json.dumps({"Heads/torchscript": {**WHOLE, "model": "Heads", "covered": 0.5}}))
    monkeypatch.setattr(sys, "argv", ["", "--select", "Heads", "--rows", str(rows), "--write", str(target)])
    with pytest.raises(SystemExit) as stopped:
        proof_coverage.main()
    assert stopped.value.code == 1
    found = json.loads(rows.read_text())
    assert found["Heads/torchscript"]["covered"] == 0.5
    made = found["Heads/dynamo"]
    assert (made["verdict"], made["covered"], made["unaccounted"]) == ("pass", 1.0, 0)
    assert target.read_text().count("| Heads |") == 2
