"""Prints how many modules an export imports in a warm process. A program of its own: a process has one fork server.

python -m tests.flows.processes.late_imports
"""

import sys

from flows.processes.export_here import export_here, services
from flows.processes.warm_process import WarmProcess
from tasks.core.spec.catalog import make_spec, resolve
from tasks.core.spec.export_spec import ExportSpec


def num_imports(spec: ExportSpec, environment: dict[str, str]) -> int:
    """Export, and count the modules that were imported for it."""
    before = len(sys.modules)
    result = export_here(spec, environment=environment)
    assert result.verdict == "pass", result.reason
    return len(sys.modules) - before


if __name__ == "__main__":
    from tests.flows.processes.late_imports import num_imports  # what the other process knows it by

    asked = resolve(make_spec(model="squeezenet1_1", weights="random", inputs=["x=float32[batch,3,64,64]"]))
    process = WarmProcess(is_silent=True)
    try:
        print(process.run("an export", 300, num_imports, asked, services()))
    finally:
        process.close()
