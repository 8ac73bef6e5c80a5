"""What a warm process is asked to do to tell how much an export imports in it."""

import sys

from flows.processes.export_here import export_here
from tasks.core.spec.export_spec import ResolvedSpec


def num_imports(spec: ResolvedSpec, environment: dict[str, str]) -> int:
    """Export, and count the modules that were imported for it."""
    before = len(sys.modules)
    result = export_here(spec, environment=environment)
    assert result.verdict == "pass", result.reason
    return len(sys.modules) - before
