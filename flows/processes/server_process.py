"""Prefect's server, which ends with the command that needs it, even if that is killed.

python -P -m flows.processes.server_process PORT HOST
"""

import os
import runpy
import sys

from tasks.core.runtime.owned_processes import end_with_owner


def main() -> None:
    """Serve until stopped."""
    port, host = sys.argv[1:]
    end_with_owner(gently=True)
    os.environ["PREFECT_UI_ENABLED"] = "0"
    sys.argv = ["prefect", "server", "start", "--no-services", f"--port={port}", f"--host={host}"]
    runpy.run_module("prefect", run_name="__main__")


if __name__ == "__main__":
    main()
