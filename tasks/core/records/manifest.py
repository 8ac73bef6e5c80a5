"""The record of everything that decides an exported file."""

import hashlib
import json
from pathlib import Path

from tasks.core.records.record import Record


class Manifest(Record):
    """What an export was made from."""

    spec: str
    """The spec as canonical JSON."""
    weights: str
    """SHA-256 of the weight tensors."""
    weights_file: str | None
    """SHA-256 of the file that held them: while it is equal, so are the tensors."""
    sample: str | None
    """SHA-256 of the sample file."""
    sources: dict[str, str]
    """SHA-256 by path, of the source files that building the model imported."""
    assay: str
    """SHA-256 of Assay's own code."""
    versions: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """One hash over all that decides the file's content, wherever the files lie."""
        content = self.model_dump(exclude={"weights_file"})
        content["sources"] = sorted((Path(path).name, sha256) for path, sha256 in self.sources.items())
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
