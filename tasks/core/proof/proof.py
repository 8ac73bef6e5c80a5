"""The outcome of a proof, and a witness of it: an answer of the file with which a copy is compared."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tasks.core.arrays import Array, ratio, rms
from tasks.core.limits import WITNESS_LIMIT
from tasks.core.localisation.defects import Defect
from tasks.core.records.evidence import Evidence
from tasks.core.runtime import sessions


@dataclass(frozen=True)
class Witness:
    """One probe and the proven file's answer to it."""

    arrays: Mapping[str, Array]
    """By the file's input names."""
    answers: tuple[Array, ...]
    """The file's outputs, in its own order."""

    def disagreement(self, path: Path) -> str:
        """How another file's answer differs, in a few words; empty: it does not."""
        try:
            (found,) = sessions.answers(path, [self.arrays])
        except sessions.SessionError as error:
            return str(error)
        if len(found) != len(self.answers):
            return f"{len(found)} outputs instead of {len(self.answers)}"
        for a, b in zip(self.answers, found, strict=True):
            if a.shape != b.shape or a.dtype != b.dtype:
                return f"{b.dtype}{list(b.shape)} instead of {a.dtype}{list(a.shape)}"
            if a.dtype.kind == "f" and not np.array_equal(np.isfinite(a), np.isfinite(b)):
                return "other elements that are not finite"
            if a.dtype.kind == "f" and not ratio(rms(b - a), rms(a)) <= WITNESS_LIMIT:
                return f"a relative difference of {ratio(rms(b - a), rms(a)):.2g}"
            if a.dtype.kind != "f" and not np.array_equal(a, b):
                return "other integers"
        return ""


@dataclass(frozen=True)
class Proof:
    """What validation found out about a file."""

    evidence: Evidence
    defect: Defect | None
    """Of a wrong file, the first node that is wrong; None: the file is right, or no node can be named."""
    witness: Witness | None
    """The file's answer to the first probe, to hold a copy against; None: it was not run."""
