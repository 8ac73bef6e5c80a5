"""The outcome of a proof."""

from dataclasses import dataclass

from tasks.core.localisation.defects import Defect
from tasks.core.proof.witness import Witness
from tasks.core.records.evidence import Evidence


@dataclass(frozen=True)
class Proof:
    """What validation found out about a file."""

    evidence: Evidence
    defect: Defect | None
    """Of a wrong file, the first node that is wrong; None: the file is right, or no node can be named."""
    witness: Witness | None
    """The file's answer to the first probe, to hold a copy against; None: it was not run."""
