"""The lock that CI installs from is that of constraints.txt, and pins bytes."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PINNED = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[\w,-]+\])?==([^\s;\\]+)")


def pinned(file: str) -> dict[str, str]:
    """Versions by normalised name."""
    lines = (ROOT / file).read_text().splitlines()
    found = [match for line in lines if (match := _PINNED.match(line))]
    return {re.sub(r"[-_.]+", "-", match[1]).lower(): match[2] for match in found}


def test_the_lock_has_the_versions_of_the_constraints() -> None:
    """After a change of either, or of pyproject.toml: the command at the lock's head."""
    assert pinned("requirements.lock") == pinned("constraints.txt")


def test_every_package_of_the_lock_has_a_hash() -> None:
    """So that pip takes no other file for it."""
    entries = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements.lock").read_text())[1:]
    assert len(entries) == len(pinned("requirements.lock"))
    assert [entry.split()[0] for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)] == []
