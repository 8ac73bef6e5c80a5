"""What a look through the store found of one registered version."""

from typing import Literal

from tasks.core.records.record import Record

State = Literal["sound", "lost", "changed", "unproven", "unsigned"]


class StoredVersion(Record):
    """A registered version, held against the records of its proof."""

    name: str
    """Of the registered model."""
    version: str
    model_uri: str
    aliases: tuple[str, ...]
    state: State
    """`sound`: the stored bytes are the proven ones; `unproven`: there is no record of a proof that was passed;
    `unsigned`: the trusted key's signature is missing or does not hold (`ASSAY_VERIFYING_KEY`)."""
    reason: str
    """What is wrong, in a few words; empty: nothing."""
    onnx_sha256: str | None
    """Of the file that was proven."""
