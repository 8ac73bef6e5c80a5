"""Keys that files are signed with."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

Keys = tuple[Path, Path]


def make_keys(folder: Path, *, password: str = "", key: rsa.RSAPrivateKey | None = None) -> Keys:
    """Paths of a new private and its public key."""
    made = key or ec.generate_private_key(ec.SECP256R1())
    folder.mkdir(exist_ok=True)
    hidden: KeySerializationEncryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    private, public = folder / "key.pem", folder / "key.pub"
    private.write_bytes(made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    public.write_bytes(made.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def use_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Let the environment name a new pair of keys."""
    private, public = made = make_keys(folder)
    monkeypatch.setenv("ASSAY_SIGNING_KEY", str(private))
    monkeypatch.setenv("ASSAY_VERIFYING_KEY", str(public))
    return made
