"""What is stored is looked at before it is believed: damage is told, exported anew, and marked. A real store."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest

from flows.command_line.verify import main as verify
from flows.export import ExportSpec, export_model
from tasks.core.records.steps import ExportResult
from tasks.mlflow_store.proven import find_proven
from tasks.mlflow_store.releases import stored_file
from tasks.mlflow_store.stored_files import CHECKED, DAMAGED
from tests.flows.in_process import Ran
from tests.models.tiny_models import Classifier

pytestmark = pytest.mark.usefixtures("store", "prefect_server")
NAMES = iter(f"kept{number}" for number in range(100))


def exported(name: str, **options: object) -> ExportResult:
    """Export the same tiny model again."""
    inputs = ("image=float32[batch,3,8,8]",)
    spec = ExportSpec(model=Classifier().eval(), name=name, inputs=inputs, exporter="torchscript")
    return export_model(spec, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def name(store: str, prefect_server: str) -> str:
    """A registered model, in version 1."""
    assert not exported("kept").unchanged
    return "kept"


@pytest.fixture
def another(name: str) -> str:
    """One of the test's own, with the same bytes."""
    made = next(NAMES)
    assert exported(made).release.version == "1"  # type: ignore[union-attr]
    return made


def stored(name: str) -> Path:
    """The file that the alias `proven` leads to."""
    found = find_proven(name)
    path = found and stored_file(found.release)
    assert path is not None
    return path


def flip(path: Path, *, secretly: bool = False) -> None:
    """Change one bit of a file; secretly: as a failing disk does, which leaves size and time."""
    content, times = bytearray(path.read_bytes()), path.stat()
    content[-1] ^= 1
    path.write_bytes(content)
    if secretly:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: path.unlink(), "model.onnx is lost"),
        (lambda path: shutil.rmtree(path.parent), "model.onnx is lost"),
        (lambda path: os.truncate(path, 100), "100 bytes are stored"),
        (flip, "has SHA-256"),
    ],
    ids=["lost", "folder", "cut", "changed"],
)
def test_damage_is_seen_and_said(damage: Callable[[Path], None], words: str, name: str, tmp_path: Path) -> None:
    """In a tag of the version, and first on its page; no longer, once the file is restored."""
    path, client = stored(name), mlflow.MlflowClient()
    shutil.copytree(path.parent, tmp_path / "backup")
    damage(path)
    found = find_proven(name)
    assert found is not None
    assert words in found.damage
    assert client.get_model_version(name, "1").tags[DAMAGED] == found.damage
    assert client.get_model_version(name, "1").description.startswith("> **✘ Damaged:** model.onnx")
    shutil.rmtree(path.parent, ignore_errors=True)
    shutil.copytree(tmp_path / "backup", path.parent)
    assert stored(name) == path
    restored = client.get_model_version(name, "1")
    assert DAMAGED not in restored.tags
    assert restored.description.startswith("### ")


def test_what_is_written_right_after_a_look_is_seen(name: str) -> None:
    """Within the same second, too, however often."""
    for _ in range(5):
        assert find_proven(name, check=True).damage == ""  # type: ignore[union-attr]
        flip(stored(name))
        assert "has SHA-256" in find_proven(name).damage  # type: ignore[union-attr]
        flip(stored(name))


def test_a_bit_that_a_disk_lost_is_seen_within_a_day(name: str) -> None:
    """Or at once, with `check`; between the two, hashing is saved."""
    flip(stored(name), secretly=True)
    found, seen = find_proven(name), find_proven(name, check=True)
    assert found is not None
    assert seen is not None
    flip(stored(name), secretly=True)
    assert (found.damage, "has SHA-256" in seen.damage, find_proven(name, check=True).damage) == ("", True, "")  # type: ignore[union-attr]
    flip(stored(name), secretly=True)
    client = mlflow.MlflowClient()
    client.set_logged_model_tags(str(found.release.model_id), {CHECKED: f"{time.time() - 25 * 3600:.0f}"})
    assert "has SHA-256" in find_proven(name).damage  # type: ignore[union-attr]
    flip(stored(name), secretly=True)
    assert find_proven(name, check=True).damage == ""  # type: ignore[union-attr]


@pytest.mark.slow
@pytest.mark.parametrize("force", [False, True], ids=["unchanged", "forced"])
def test_what_is_damaged_is_exported_anew(force: bool, another: str) -> None:
    """As another version, to which the aliases move, though the content is the same."""
    stored(another).unlink()
    client = mlflow.MlflowClient()
    result = exported(another, force=force)
    assert (result.verdict, result.unchanged, result.release and result.release.version) == ("pass", False, "2")
    assert result.reason == "changed: the stored file of version 1 (model.onnx is lost)"
    assert _aliases(another) == {"proven": "2", "champion": "2"}
    assert "is lost" in client.get_model_version(another, "1").tags[DAMAGED]
    assert "what is stored of version 1" in client.get_model_version(another, "2").description
    assert exported(another).unchanged


@pytest.mark.slow
def test_a_deleted_version_is_no_version(another: str) -> None:
    """Whoever deletes it, or its logged model, gets another one, and the aliases with it."""
    client = mlflow.MlflowClient()
    client.delete_model_version(another, "1")
    assert exported(another).release.version == "2"  # type: ignore[union-attr]
    client.delete_logged_model(str(find_proven(another).release.model_id))  # type: ignore[union-attr]
    assert exported(another).release.version == "3"  # type: ignore[union-attr]
    assert _aliases(another) == {"proven": "3", "champion": "3"}


def test_verify_store_says_which_files_are_lost_or_changed(name: str, call: Callable[..., Ran], tmp_path: Path) -> None:
    """Status 1 and a line each; what is restored is sound again, and its page says so no longer."""
    path, client = stored(name), mlflow.MlflowClient()
    ran = call(verify, "--store", name)
    assert (ran.status, [result["state"] for result in ran.results]) == (0, ["sound"])
    assert "1 of 1 versions are what was proven" in ran.out
    shutil.copy2(path, tmp_path / "backup")
    flip(path, secretly=True)
    client.create_model_version(name, source=path.parent.as_uri())
    ran = call(verify, "--store", name)
    assert (ran.status, [result["state"] for result in ran.results]) == (1, ["changed", "unproven"])
    assert ran.results[0]["aliases"] == ["champion", "proven"]
    said = " ".join(ran.out.split())
    assert f"✘ changed {name}/1: model.onnx has SHA-256" in said
    assert "was proven (served as champion, proven)" in said
    assert DAMAGED in client.get_model_version(name, "1").tags
    shutil.copy2(tmp_path / "backup", path)
    assert [result["state"] for result in call(verify, "--store", name).results] == ["sound", "unproven"]
    assert DAMAGED not in client.get_model_version(name, "1").tags


def test_a_pattern_that_fits_nothing_is_bad_input(call: Callable[..., Ran]) -> None:
    """And so is a model beside --store, or nothing at all."""
    assert call(verify, "--store", "nothing*").status == 2
    assert call(verify, "--store", "x", "digits").status == 2
    assert call(verify, "digits").status == 2


def _aliases(name: str) -> dict[str, str]:
    aliases = mlflow.MlflowClient().get_registered_model(name).aliases
    return {alias: str(version) for alias, version in aliases.items()}
