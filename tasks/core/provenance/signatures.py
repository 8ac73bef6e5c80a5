"""Signatures after OpenSSF's model signing: who vouches for a file, checked without a service.

The keys are PEM files of an elliptic curve (P-256, P-384, P-521), which the environment names. `model_signing`, of
the extra `sign`, is imported only where it names one.
"""

import base64
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tasks.core.errors import SignatureError, SpecError, one_line, some
from tasks.core.runtime.work_folders import work_folder

SIGNING_KEY = "ASSAY_SIGNING_KEY"
"""Path of the private key that proven files are signed with."""
SIGNING_PASSWORD = "ASSAY_SIGNING_PASSWORD"
"""Of the private key, where it has one."""
VERIFYING_KEY = "ASSAY_VERIFYING_KEY"
"""Path of the public key whose signature each verified file must bear."""
SIGNATURE_FILE = "model.sig"
"""Beside the files of a logged model; a file of another name, `alexnet.onnx`, has `alexnet.onnx.sig`."""

_ITSELF = "."
"""In place of a name, where a file by itself was signed."""
_OTHER_BYTES = re.compile(r"Hash mismatch for \\?'([^'\\]+)")
"""In the library's words, which go on with the hashes as Python writes bytes."""


def check_keys() -> None:
    """Read the keys that are named, before work is done for them.

    Raises:
        SpecError: one of them is none, or `model_signing` is not installed.
    """
    signer_id()
    if is_expected():
        _verifier()


def signer_id() -> str:
    """What tells the key that is signed with from others: SHA-256 of its public half in PEM; empty: none is named."""
    if not os.environ.get(SIGNING_KEY):
        return ""
    with work_folder() as folder:
        (folder / "content").write_bytes(b"")
        sign({"content": folder / "content"}, folder / SIGNATURE_FILE)
        return str(_bundle(folder / SIGNATURE_FILE)["verificationMaterial"]["publicKey"]["hint"])


def sign(files: Mapping[str, Path], signature: Path) -> None:
    """Sign files by their names and contents.

    Args:
        files: where each lies, by the name that it has or will have in the folder that is signed.
        signature: path of the bundle that is written.

    Raises:
        SpecError: the key that is named is none.
    """
    config = _with_key(SIGNING_KEY, _signing_config)
    with work_folder() as parent:
        folder = parent / "model"  # the bundle names it
        folder.mkdir()
        for name, file in files.items():
            try:
                os.link(file.resolve(), folder / name)
            except OSError:  # another file system
                shutil.copyfile(file, folder / name)
        config.sign(folder, signature)


def is_expected() -> bool:
    """Must a file bear a signature to be verified?"""
    return bool(os.environ.get(VERIFYING_KEY))


def check_signature(file: Path) -> None:
    """Hold an `.onnx` file and its external data against the signature beside it, where one is expected.

    Args:
        file: that should be signed.

    Raises:
        SignatureError: there is none, it is another key's, or it is of other bytes or names.
        SpecError: the key that is named is none.
    """
    if not is_expected():
        return
    from tasks.core.onnx_files.lazy_reading import sidecars

    verifier = _verifier()
    ways = (file.with_name(f"{file.name}.sig"), file.with_name(SIGNATURE_FILE))
    signature = next((path for path in ways if path.is_file()), None)
    if signature is None:
        raise SignatureError(
            f"{file} bears no signature: neither {ways[0].name} nor {ways[1].name} lies beside it; get the file with "
            f"its signature, or unset {VERIFYING_KEY}."
        )
    try:
        signed = json.loads(base64.b64decode(_bundle(signature)["dsseEnvelope"]["payload"]))["predicate"]["resources"]
        names = {str(entry["name"]) for entry in signed}
        is_alone = names == {_ITSELF}
        verifier.set_ignore_unsigned_files(True).verify(file if is_alone else file.parent, signature)
    except Exception as error:  # whatever the library makes of what anybody may have written there
        other = sorted(set(_OTHER_BYTES.findall(str(error))))
        said = f"{some(other)} has other bytes" if other else one_line(error) or type(error).__name__
        raise SignatureError(
            f"The signature {signature.name} of {file} does not hold ({said}); the file, or what lies beside it, is "
            f"not what was signed with this key: get it anew from who signed it."
        ) from error
    names = {file.name} if is_alone else names
    for name in (file.name, *sidecars(file)):
        if name not in names:
            raise SignatureError(
                f"The signature {signature.name} of {file} covers {some(sorted(names))}, and not {name}; get a "
                f"signature of this file from who made it."
            )


def _bundle(signature: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(signature.read_text())
    return found


def _verifier() -> Any:
    return _with_key(VERIFYING_KEY, _verifying_config)


def _signing_config(path: str) -> Any:
    from model_signing import signing

    password = os.environ.get(SIGNING_PASSWORD)
    # the library hands it on to one that takes bytes only
    secret: Any = password.encode() if password else None
    return signing.Config().use_elliptic_key_signer(private_key=path, password=secret)


def _verifying_config(path: str) -> Any:
    from model_signing import verifying

    return verifying.Config().use_elliptic_key_verifier(public_key=path)


def _with_key(name: str, make: Callable[[str], Any]) -> Any:
    """What `make` makes of the key that a variable of the environment names."""
    path = os.environ[name]
    try:
        return make(path)
    except ImportError as error:
        raise SpecError(f"{name} is set, and signatures need model-signing: pip install -e '.[sign]'.") from error
    except OSError as error:
        raise SpecError(f"{name} names {path}, which can't be read ({error.strerror}).") from error
    except Exception as error:  # of the libraries for keys
        half = "private" if name == SIGNING_KEY else "public"
        raise SpecError(
            f"{name} names {path}, which is no {half} key of an elliptic curve in PEM that can be used "
            f"({one_line(error) or type(error).__name__})."
        ) from error
