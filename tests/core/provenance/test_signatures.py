"""Signatures of files: they hold for these bytes and names only, and a wrong key is said before the work."""

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tasks.core.errors import SignatureError, SpecError
from tasks.core.provenance.signatures import check_keys, check_signature, sign, signer_id
from tests.services.keys import Keys, make_keys, use_keys


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """A pair of keys, which the environment names."""
    return use_keys(tmp_path / "keys", monkeypatch)


@pytest.fixture
def file(keys: Keys, tmp_path: Path) -> Path:
    """A signed file."""
    path = tmp_path / "net.onnx"
    path.write_bytes(onnx_bytes())
    sign({path.name: path}, tmp_path / "net.onnx.sig")
    return path


def onnx_bytes(name: str = "net", external: str = "") -> bytes:
    """A graph of one node; with weights in a file of that name."""
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])
    other = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2])
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], b"\0" * 8, raw=True)
    if external:
        onnx.external_data_helper.set_external_data(weight, external)
        weight.ClearField("raw_data")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], name, [value], [other], [weight])
    return onnx.helper.make_model(graph).SerializeToString()


def test_a_signature_holds_for_what_was_signed(file: Path) -> None:
    """Whatever else lies in the folder."""
    file.with_name("notes.txt").write_text("mine")
    check_signature(file)


def test_another_folder_and_no_key_to_sign_with_will_do(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever verifies has the public key alone."""
    monkeypatch.delenv("ASSAY_SIGNING_KEY")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for path in (file, file.with_name("net.onnx.sig")):
        (elsewhere / path.name).write_bytes(path.read_bytes())
    check_signature(elsewhere / file.name)


def test_without_a_trusted_key_nothing_is_asked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are optional."""
    monkeypatch.delenv("ASSAY_VERIFYING_KEY")
    file.with_name("net.onnx.sig").unlink()
    check_signature(file)


def test_changed_bytes_are_refused(file: Path) -> None:
    """A file that another one of the same name took the place of."""
    file.write_bytes(onnx_bytes("another"))
    with pytest.raises(
        SignatureError, match=r"net\.onnx\.sig of .*net\.onnx does not hold \(net\.onnx has other bytes\)"
    ):
        check_signature(file)


def test_a_missing_signature_is_refused(file: Path) -> None:
    """And both places where it may lie are named."""
    file.with_name("net.onnx.sig").unlink()
    with pytest.raises(SignatureError, match=r"neither net\.onnx\.sig nor model\.sig lies beside it"):
        check_signature(file)


def test_another_key_is_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature of somebody else."""
    monkeypatch.setenv("ASSAY_VERIFYING_KEY", str(make_keys(tmp_path / "others")[1]))
    with pytest.raises(SignatureError, match="does not hold"):
        check_signature(file)


def test_a_claimed_key_is_no_key(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signature of another key that says that it is of the trusted one."""
    signature = file.with_name("net.onnx.sig")
    trusted = json.loads(signature.read_text())["verificationMaterial"]
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(make_keys(tmp_path / "others")[0]))
    file.write_bytes(onnx_bytes("another"))
    sign({file.name: file}, signature)
    signature.write_text(json.dumps(json.loads(signature.read_text()) | {"verificationMaterial": trusted}))
    with pytest.raises(SignatureError, match="does not hold"):
        check_signature(file)


def test_a_signature_of_other_files_is_refused(file: Path, tmp_path: Path) -> None:
    """The one of another file, renamed: it holds, and says nothing of this one."""
    other = file.with_name("other.onnx")
    other.write_bytes(onnx_bytes("other"))
    file.with_name("net.onnx.sig").rename(file.with_name("other.onnx.sig"))
    with pytest.raises(SignatureError, match=r"covers net\.onnx, and not other\.onnx"):
        check_signature(other)


def test_weights_outside_the_file_have_to_be_signed_too(file: Path) -> None:
    """Else whoever changes them changes the model."""
    file.write_bytes(onnx_bytes(external="w.data"))
    file.with_name("w.data").write_bytes(b"\0" * 8)
    signature = file.with_name("net.onnx.sig")
    sign({file.name: file}, signature)
    with pytest.raises(SignatureError, match=r"and not w\.data"):
        check_signature(file)
    sign({file.name: file, "w.data": file.with_name("w.data")}, signature)
    check_signature(file)
    file.with_name("w.data").write_bytes(b"\1" * 8)
    with pytest.raises(SignatureError, match="does not hold"):
        check_signature(file)


@pytest.mark.parametrize("text", ["", "{}", "[]", "not json", '{"mediaType": 1}', '{"dsseEnvelope": {}}', "\0" * 99])
def test_garbage_is_no_signature(text: str, file: Path) -> None:
    """Whatever lies there, it is one sentence."""
    file.with_name("net.onnx.sig").write_text(text)
    with pytest.raises(SignatureError, match="does not hold"):
        check_signature(file)


def test_a_password_opens_the_private_key(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment; without it the key is of no use."""
    private, public = make_keys(tmp_path / "locked", password="open sesame")
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(private))
    monkeypatch.setenv("ASSAY_VERIFYING_KEY", str(public))
    with pytest.raises(SpecError, match=r"ASSAY_SIGNING_KEY names .* no private key"):
        check_keys()
    monkeypatch.setenv("ASSAY_SIGNING_PASSWORD", "open sesame")
    check_keys()
    sign({file.name: file}, file.with_name("net.onnx.sig"))
    check_signature(file)


@pytest.mark.parametrize("name", ["ASSAY_SIGNING_KEY", "ASSAY_VERIFYING_KEY"])
def test_what_is_no_key_is_said(name: str, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of nothing, of garbage, of the other half, of a key of another kind."""
    garbage = tmp_path / "garbage.pem"
    garbage.write_text("hello")
    other_kind = make_keys(tmp_path / "rsa", key=rsa.generate_private_key(65537, 2048))
    is_private = name == "ASSAY_SIGNING_KEY"
    for path in (garbage, keys[is_private], other_kind[not is_private]):
        monkeypatch.setenv(name, str(path))
        with pytest.raises(SpecError, match=f"{name} names .* which is no"):
            check_keys()
    monkeypatch.setenv(name, str(tmp_path / "none.pem"))
    with pytest.raises(SpecError, match=r"can't be read \(No such file"):
        check_keys()


def test_keys_are_told_apart(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a hash of the public half; none is named: nothing."""
    first = signer_id()
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(make_keys(tmp_path / "others")[0]))
    assert signer_id() not in ("", first)
    monkeypatch.delenv("ASSAY_SIGNING_KEY")
    assert signer_id() == ""


def test_a_signature_by_the_standards_own_command_is_taken(file: Path, keys: Keys) -> None:
    """Of the folder, and of the file by itself."""
    signature = file.with_name("net.onnx.sig")
    for signed in (file, file.parent):
        signature.unlink()
        command = [sys.executable, "-m", "model_signing", "sign", "key", str(signed), "--private_key", str(keys[0])]
        subprocess.run([*command, "--signature", str(signature)], check=True, capture_output=True)
        check_signature(file)
    content = file.read_bytes()
    file.write_bytes(onnx_bytes("another"))
    with pytest.raises(SignatureError, match="does not hold"):
        check_signature(file)
    file.write_bytes(content)


def test_a_file_signed_by_itself_vouches_for_no_other(file: Path, keys: Keys) -> None:
    """Not for weights outside of it."""
    file.write_bytes(onnx_bytes(external="w.data"))
    file.with_name("w.data").write_bytes(b"\0" * 8)
    command = [sys.executable, "-m", "model_signing", "sign", "key", str(file), "--private_key", str(keys[0])]
    subprocess.run([*command, "--signature", f"{file}.sig"], check=True, capture_output=True)
    with pytest.raises(SignatureError, match=r"covers net\.onnx, and not w\.data"):
        check_signature(file)


def test_the_standards_own_command_takes_it(file: Path, keys: Keys) -> None:
    """Whoever serves the file needs nothing of Assay."""
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(file.parent), "--ignore_unsigned_files"]
    command += ["--signature", str(file.with_name("net.onnx.sig")), "--public_key", str(keys[1])]
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode == 0
    file.write_bytes(onnx_bytes("another"))
    assert subprocess.run(command, capture_output=True, text=True, check=False).returncode != 0
