"""Tell what changed between two versions of a model that MLflow holds: the flow, and its command line.

python flows/compare.py NAME/3 NAME/4 [--json FILE]
"""

if __name__ == "__main__":  # before the imports below: the command line imports them when it needs them
    import signal
    import sys
    from pathlib import Path

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until the command listens, there is nothing to clean up
    sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: a user may have a `compare`, too
    from flows.command_line.start import run

    raise SystemExit(run("compare"))

from tasks.core.provenance.comparison import compare
from tasks.core.records.comparison import Comparison
from tasks.core.runtime.work_folders import work_folder
from tasks.core.spec.version_name import VersionName
from tasks.mlflow_store.versions import download_version, find_version

__all__ = ["compare_versions"]


def compare_versions(before: str, now: str) -> Comparison:
    """Compare two registered versions: what they were made from, their files, and the answers of these.

    Nothing is recorded and nothing is judged, so that this needs no Prefect, which takes seconds to start.

    Args:
        before: `NAME/3`, `NAME@champion` or `models:/NAME/3`.
        now: the other one, likewise.

    Raises:
        AssayError: there is no such version, or MLflow could not be reached.
    """
    first, second = (find_version(VersionName.parse(text)) for text in (before, now))
    with work_folder() as of_first, work_folder() as of_second:
        return compare(first, second, (download_version(first, of_first), download_version(second, of_second)))
