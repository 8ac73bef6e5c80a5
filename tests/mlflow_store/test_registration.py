"""What an artifact store changed between logging and registering is refused: no version, no alias, no claim."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import onnx
import pytest

from flows.export import ExportSpec, export_model
from tasks import log_export as step
from tasks.core.errors import ExportError
from tasks.core.hashes import file_sha256
from tasks.core.onnx_files import writing
from tasks.core.records.steps import Graph, Release
from tasks.mlflow_store.registration import check_download, log_model
from tasks.mlflow_store.releases import download_graph
from tasks.mlflow_store.runs import OpenRun
from tests.models import tiny_models
from tests.models.tiny_models import Classifier

pytestmark = pytest.mark.usefixtures("store", "prefect_server")
INPUT = "image=float32[batch,3,8,8]"
Damage = Callable[[Path], None]


def other_bytes(stored: Path) -> None:
    """Append one byte to the file."""
    _rewrite(stored, stored.read_bytes() + b"\0")


def other_sidecar(stored: Path) -> None:
    """Flip the first byte of the sidecar."""
    (sidecar,) = stored.parent.glob("weights-*.data")
    content = sidecar.read_bytes()
    _rewrite(sidecar, bytes([content[0] ^ 1]) + content[1:])


def _rewrite(path: Path, content: bytes) -> None:
    """Replace a file; the proven one may be the same inode."""
    path.unlink()
    path.write_bytes(content)


@pytest.fixture
def damaged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[Damage], list[Release]]]:
    """Lets a damage happen to the stored file right after it was logged; gives what was logged."""
    releases: list[Release] = []

    def arrange(damage: Damage) -> list[Release]:
        def log_and_damage(run: OpenRun, graph: Graph) -> Release:
            releases.append(log_model(run, graph))
            damage(download_graph(releases[-1], tmp_path))
            return releases[-1]

        monkeypatch.setattr(step, "log_model", log_and_damage)
        return releases

    return arrange


@pytest.mark.parametrize(("damage", "words"), [(other_bytes, "has SHA-256"), (other_sidecar, "The sidecar")])
def test_what_the_store_changed_is_not_registered(
    damage: Damage, words: str, damaged: Callable[[Damage], list[Release]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has failed, and neither it nor the logged model claims a verdict that was not checked."""
    if damage is other_sidecar:
        monkeypatch.setattr(writing, "MAX_FILE_BYTES", 64 << 20)
    releases = damaged(damage)
    name = f"gate-{damage.__name__}"
    with pytest.raises(ExportError, match=words) as caught:
        export_model(ExportSpec(model=Classifier().eval(), name=name, inputs=(INPUT,)))
    client = mlflow.MlflowClient()
    assert not client.search_model_versions(f"name='{name}'")
    run = client.get_run(str(caught.value.run_id))
    assert (run.info.status, run.data.tags["assay.verdict"]) == ("FAILED", "error")
    assert "pass" not in run.data.tags["mlflow.note.content"]
    assert "assay.verdict" not in client.get_logged_model(str(releases[0].model_id)).tags


def test_another_answer_is_refused_though_the_hash_is_right(
    damaged: Callable[[Damage], list[Release]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file whose one weight is another gives another answer to the probe that the proof kept."""

    def check(graph: Graph, release: Release, witness: object) -> None:
        stored = download_graph(release, tmp_path)
        model = onnx.load(stored)
        model.graph.initializer[-1].CopyFrom(
            onnx.numpy_helper.from_array(
                onnx.numpy_helper.to_array(model.graph.initializer[-1]) * 1.5, model.graph.initializer[-1].name
            )
        )
        _rewrite(stored, model.SerializeToString())
        check_download(graph.model_copy(update={"sha256": file_sha256(stored)}), release, witness)

    monkeypatch.setattr(step, "check_download", check)
    with pytest.raises(ExportError, match="gives another answer"):
        export_model(ExportSpec(model=Classifier().eval(), name="gate-answer", inputs=(INPUT,)))
    assert not mlflow.MlflowClient().search_model_versions("name='gate-answer'")


def test_a_registration_that_fails_leaves_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the version can't be made after the check, the run is a failed one."""

    def refuse(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(step, "register", refuse)
    with pytest.raises(Exception, match="could not be written") as caught:
        export_model(ExportSpec(model=Classifier().eval(), name="gate-registry", inputs=(INPUT,)))
    client = mlflow.MlflowClient()
    run = client.get_run(str(caught.value.run_id))  # type: ignore[attr-defined]  # every error has it
    assert len(client.search_runs([run.info.experiment_id], "tags.`assay.name` = 'gate-registry'")) == 1
    assert (run.info.status, run.data.tags["assay.verdict"]) == ("FAILED", "error")


@pytest.mark.slow
def test_the_champion_keeps_its_inputs_until_others_are_accepted() -> None:
    """A version of other names is proven, but what serves `champion` is not changed under its users."""
    client, model = mlflow.MlflowClient(), Classifier().eval()

    def exported(name: str, **options: bool) -> tuple[str | None, str | None, str, str]:
        spec = ExportSpec(model=model, name="contract", inputs=(INPUT.replace("image", name),))
        result = export_model(spec, **options)
        assert result.verdict == "pass"
        champion, proven = (client.get_model_version_by_alias("contract", a).version for a in ("champion", "proven"))
        assert result.release is not None
        return result.release.version, result.release.alias, str(champion), str(proven)

    assert exported("image") == ("1", "champion", "1", "1")
    assert exported("picture") == ("2", "proven", "1", "2")
    assert exported("picture", accept_contract=True) == ("2", "champion", "2", "2")
    assert exported("image") == ("1", "proven", "2", "1")


@pytest.mark.slow
def test_random_weights_are_no_champion() -> None:
    """They are proven, and what serves `champion` keeps its weights, whatever is accepted."""
    client = mlflow.MlflowClient()
    model = f"{tiny_models.__file__}:Classifier"
    spec = ExportSpec(model=model, name="drawn", inputs=(INPUT,), weights="random", exporter="torchscript")
    first = export_model(spec)
    assert (first.verdict, first.release.alias) == ("pass", "proven")  # type: ignore[union-attr]
    assert not [note for note in first.notes if "champion" in note]
    assert export_model(spec.model_copy(update={"weights": "as-built"})).release.alias == "champion"  # type: ignore[union-attr]
    again = export_model(spec, accept_contract=True)
    assert "champion stays at version 2, for these weights are random" in again.notes
    assert str(client.get_model_version_by_alias("drawn", "champion").version) == "2"
    assert str(client.get_model_version_by_alias("drawn", "proven").version) == "1"


@pytest.mark.slow
def test_why_the_champion_stays_is_a_note() -> None:
    """The note names the version and both interfaces, and the option that moves it."""
    model, name = Classifier().eval(), "contract-said"
    export_model(ExportSpec(model=model, name=name, inputs=(INPUT,)))
    result = export_model(ExportSpec(model=model, name=name, inputs=("image=float32[3,3,8,8]",)))
    (note,) = [note for note in result.notes if "champion" in note]
    assert note.startswith("champion stays at version 1, whose inputs are image: float32[batch, 3, 8, 8], not")
    assert note.endswith("--accept-contract moves it")
