"""A manifest tells what decides a file apart from what only shows it, and names what changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.paths import PROJECT_FOLDER
from tasks.core.provenance import manifest as module
from tasks.core.records.steps import Manifest
from tasks.core.spec.export_spec import ResolvedSpec

SPEC = ResolvedSpec(model="resnet18", name="resnet18", weights="random", static={"batch": "as its trainer says"})


def manifest_of(spec: ResolvedSpec = SPEC, **changes: object) -> Manifest:
    """A manifest made by hand."""
    fields = {
        "spec": spec.canonical_json(),
        "weights": "a",
        "weights_file": None,
        "sample": None,
        "sources": {"net.py": "b"},
        "assay": "c",
        "versions": {"torch": "2.14.1"},
    }
    return Manifest.model_validate(fields | changes)


@pytest.fixture
def hash_of_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Hashes a copy of Assay's code, once a line is added to one of its files."""
    core = tmp_path / "tasks" / "core"
    shutil.copytree(PROJECT_FOLDER / "tasks" / "core", core, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(module, "PROJECT_FOLDER", tmp_path)

    def changed(file: str) -> str:
        module.assay_sha256.cache_clear()
        if file:
            with (core / file).open("a") as code:
                code.write("# another line\n")
        return module.assay_sha256()

    yield changed
    module.assay_sha256.cache_clear()


@pytest.mark.parametrize("file", ["reports/pages.py", "reports/templates/report.css", "records/steps.py", "errors.py"])
def test_what_shows_an_export_makes_no_new_version(file: str, hash_of_copy: Callable[[str], str]) -> None:
    """A line in a report, a record or an error leaves the hash of Assay's code as it was."""
    assert hash_of_copy("") == hash_of_copy(file)


@pytest.mark.parametrize("file", ["proof/parity.py", "export/fallback.py", "families/torchvision.py", "limits.py"])
def test_what_decides_an_export_is_seen(file: str, hash_of_copy: Callable[[str], str]) -> None:
    """A line in a room that makes or proves files changes it."""
    assert hash_of_copy("") != hash_of_copy(file)


def test_a_room_that_is_new_is_taken_to_decide(hash_of_copy: Callable[[str], str], tmp_path: Path) -> None:
    """A new room's code is hashed unless somebody says that it decides nothing."""
    before = hash_of_copy("")
    (tmp_path / "tasks" / "core" / "newcomers").mkdir()
    (tmp_path / "tasks" / "core" / "newcomers" / "half.py").touch()
    assert hash_of_copy("") != before


def test_a_mended_sentence_changes_nothing() -> None:
    """What is said of a static dimension, and why, decides no file."""
    mended = SPEC.model_copy(update={"static": {"batch": "as its trainers say"}})
    assert not module.differences(manifest_of(), manifest_of(mended))


def test_each_difference_is_named() -> None:
    """Spec fields, weights, sample, sources, Assay's code and packages are each told by name, with the values."""
    other = SPEC.model_copy(update={"opset": 18})
    now = manifest_of(
        other, weights="x", sample="x", sources={"net.py": "x", "new.py": "x"}, assay="x", versions={"torch": "2.15"}
    )
    assert module.differences(manifest_of(), now) == (
        "spec.opset", "weights", "sample", "source net.py", "source new.py", "Assay's code", "torch 2.14.1 -> 2.15",
    )  # fmt: skip
    values = [(change.before, change.now) for change in module.changes(manifest_of(), now)]
    assert values == [
        ("20", "18"), ("a", "x"), ("none", "x"), ("b", "x"), ("absent", "x"), ("c", "x"), ("2.14.1", "2.15"),
    ]  # fmt: skip


def test_equal_content_has_one_fingerprint_wherever_it_lies() -> None:
    """The folders of the sources and the container of the weights are no part of it."""
    here, there = manifest_of(sources={"/a/net.py": "b"}), manifest_of(sources={"/b/net.py": "b"}, weights_file="f")
    assert here.fingerprint == there.fingerprint
    assert here.fingerprint != manifest_of(weights="x").fingerprint
