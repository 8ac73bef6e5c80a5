"""Signatures in a real store: a version's folder bears one of its file and its record, and it is looked at."""

from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import pytest

from flows.command_line.export import main as export
from flows.command_line.verify import main as verify
from flows.export import ExportSpec, export_model
from tasks.core.errors import ExportError
from tasks.core.records.steps import ExportResult
from tasks.mlflow_store.proven import find_proven
from tasks.mlflow_store.releases import folder_of, model_id_of
from tasks.mlflow_store.signing import sign_model
from tests.flows.in_process import Ran
from tests.models.tiny_models import Classifier
from tests.services.keys import make_keys, use_keys

pytestmark = pytest.mark.usefixtures("store", "prefect_server")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder of a pair of keys, which the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        use_keys(folder := tmp_path_factory.mktemp("signing") / "keys", patch)
        yield folder


@pytest.fixture(scope="module")
def delivered(keys: Path, store: str, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a signed file was delivered; its registered model is `signed`, in version 1."""
    output = tmp_path_factory.mktemp("delivered") / "net.onnx"
    assert _exported(output=output).release is not None
    return output


def test_the_folder_of_a_version_bears_a_signature(delivered: Path, call: Callable[..., Ran], tmp_path: Path) -> None:
    """Of the file, MLflow's own files and the record; whoever loads `champion` has it all in one folder."""
    folder = Path(mlflow.artifacts.download_artifacts("models:/signed@champion", dst_path=str(tmp_path)))
    assert {"MLmodel", "model.onnx", "export.json", "model.sig"} <= {path.name for path in folder.iterdir()}
    assert call(verify, "--store", "signed").results[0]["state"] == "sound"
    mlflow.pyfunc.load_model(str(folder))


@pytest.mark.parametrize("name", ["export.json", "MLmodel", "model.sig"])
def test_whatever_is_changed_in_it_is_told(name: str, delivered: Path, call: Callable[..., Ran]) -> None:
    """A record, MLflow's own file, the signature: the version is not what was signed."""
    path = _stored() / name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0", b"1", 1))
    ran = call(verify, "--store", "signed")
    path.write_bytes(content)
    assert (ran.status, ran.results[0]["state"]) == (1, "unsigned")
    assert "✘ unsigned" in ran.out
    assert "does not hold" in ran.results[0]["reason"]


def test_a_delivered_file_is_verified_by_its_signature(delivered: Path, call: Callable[..., Ran]) -> None:
    """It holds, and the file is proven; another file of the same name has the verdict `error`."""
    assert delivered.with_name("net.onnx.sig").is_file()
    command = (verify, "tests.models.tiny_models:Classifier", str(delivered), "--weights", "as-built")
    ran = call(*command)
    assert ran.verdicts == ["pass"], ran.err
    content = delivered.read_bytes()
    delivered.write_bytes(content + b"\x30\x00")  # another field of ONNX's, which changes nothing else
    ran = call(*command)
    delivered.write_bytes(content)
    assert (ran.status, ran.verdicts) == (1, ["error"])
    assert "does not hold" in ran.sentence


def test_what_is_signed_is_unchanged_until_the_key_is_another(
    delivered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the same bytes become another version, of which the new key's owner vouches."""
    assert _exported().unchanged
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(make_keys(tmp_path / "others")[0]))
    result = _exported()
    assert (result.unchanged, result.release and result.release.version) == (False, "2")
    assert "it is not signed with the key that is set" in result.reason


def test_without_a_key_nothing_is_signed(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Ran]
) -> None:
    """And whoever has a trusted key is told that the version bears no signature; set later, it is signed then."""
    private, public = make_keys(tmp_path / "keys")
    monkeypatch.delenv("ASSAY_SIGNING_KEY", raising=False)
    monkeypatch.delenv("ASSAY_VERIFYING_KEY", raising=False)
    assert _exported("plain", output=tmp_path / "plain.onnx").verdict == "pass"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keys", "plain.onnx"]
    assert call(verify, "--store", "plain").results[0]["state"] == "sound"
    monkeypatch.setenv("ASSAY_VERIFYING_KEY", str(public))
    ran = call(verify, "--store", "plain")
    assert ran.results[0]["state"] == "unsigned"
    assert "model.onnx bears no signature" in ran.results[0]["reason"]
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(private))
    assert _exported("plain").release.version == "2"  # type: ignore[union-attr]
    assert [found["state"] for found in call(verify, "--store", "plain").results] == ["unsigned", "sound"]


def test_what_the_store_changed_is_not_signed(delivered: Path) -> None:
    """Between the proof and the signature: the very bytes that are signed are held against the proof."""
    found = find_proven("signed")
    assert found is not None
    other = found.graph.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(ExportError, match=r"gave back another model\.onnx than was proven"):
        sign_model(mlflow.MlflowClient(), str(found.release.model_id), other, record=("export.json", "{}"))


def test_a_signature_of_another_file_does_not_stay(
    delivered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a file is delivered unsigned over a signed one; the same bytes keep theirs."""
    monkeypatch.delenv("ASSAY_SIGNING_KEY")
    output = tmp_path / "net.onnx"
    for path in (delivered, delivered.with_name("net.onnx.sig")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    _exported(output=output)
    assert output.with_name("net.onnx.sig").exists()
    output.write_bytes(b"another")
    _exported(output=output)
    assert not output.with_name("net.onnx.sig").exists()


def test_a_wrong_key_is_said_before_the_work(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Callable[..., Ran]
) -> None:
    """Bad input, in one sentence; nothing was built."""
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(tmp_path / "none.pem"))
    ran = call(export, "digits")
    assert ran.status == 2
    assert "ASSAY_SIGNING_KEY names" in ran.sentence


def _exported(name: str = "signed", *, output: Path | None = None) -> ExportResult:
    inputs = ("image=float32[batch,3,8,8]",)
    spec = ExportSpec(model=Classifier().eval(), name=name, inputs=inputs, exporter="torchscript")
    return export_model(spec, output=output, timing=False)


def _stored() -> Path:
    client = mlflow.MlflowClient()
    folder = folder_of(client.get_logged_model(model_id_of(client.get_model_version("signed", "1"))))
    assert folder is not None
    return folder
