"""Where exports are killed: a store, caches and a temporary folder of their own, and what must hold there."""

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import mlflow
import psutil
from mlflow.exceptions import MlflowException

from tasks.core.paths import PROJECT_FOLDER
from tests.faults.warm_exports import WarmExport, warm_context

NAME = "killed"
_VERSIONS = """
select version.version, model.artifact_location, tag.value, run.status from model_versions version
left join runs run on run.run_uuid = version.run_id
left join logged_models model on version.source = 'models:/' || model.model_id
left join model_version_tags tag
    on tag.name = version.name and tag.version = version.version and tag.key = 'assay.verdict'
where version.current_stage != 'Deleted_Internal'
"""
MODEL = f"{PROJECT_FOLDER}/tests/models/tiny_models.py:Classifier"


Exporting = subprocess.Popen[str] | WarmExport


class Place:
    """Folders and environment of the exports, and a look at what they left."""

    def __init__(self, folder: Path) -> None:
        """Make the folders.

        Args:
            folder: with a short path, as sockets lie below it.
        """
        self.folder = folder
        for name in ("tmp", "cache", "prefect"):
            (folder / name).mkdir(parents=True)
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "MLFLOW_", "ASSAY_"))
        }
        self.environment = {
            **kept,
            "TMPDIR": str(folder / "tmp"),
            "ASSAY_CACHE": str(folder / "cache"),
            "PREFECT_HOME": str(folder / "prefect"),
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
            "PYTHONUNBUFFERED": "1",
        }
        self.warm: ForkServerContext | None = None

    def start(self, seed: int, *, name: str = NAME, json: str = "out.json") -> Exporting:
        """Start an export of weights of their own in a session of its own; each seed makes a version.

        Args:
            seed: of the weights.
            name: of the registered model.
            json: name of the file for the result.
        """
        arguments = [MODEL, "--weights", f"random:{seed}", "--name", name, "--exporter", "torchscript", "--no-timing"]
        arguments += ["--input", "image=float32[batch,3,8,8]", "--json", str(self.folder / json)]
        if self.warm is not None:
            return WarmExport(self.warm, arguments, self.environment, self.folder)
        return subprocess.Popen(
            [sys.executable, str(PROJECT_FOLDER / "flows/export.py"), *arguments],
            env=self.environment, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def result(self, name: str = "out.json") -> dict[str, Any]:
        """What an export's JSON says; `name` is its file's."""
        (found,) = json.loads((self.folder / name).read_text())["results"]
        return dict(found)

    def alias_of(self, name: str) -> str:
        """The version of a registered model that `proven` leads to; empty: there is none."""
        client = mlflow.MlflowClient(self.environment["MLFLOW_TRACKING_URI"])
        with contextlib.suppress(MlflowException):
            return str(client.get_model_version_by_alias(name, "proven").version)
        return ""

    def faults(self, result: dict[str, Any], session: list[int]) -> dict[str, int]:
        """Count what must not be, after an export that came to its end.

        Args:
            result: of that export.
            session: sessions of the processes that were killed before.
        """
        with closing(sqlite3.connect(self.folder / "mlflow.db")) as store:
            count = lambda query: int(store.execute(query).fetchone()[0])  # noqa: E731
            running = count("select count(*) from runs where status = 'RUNNING'")
            pending = count("select count(*) from logged_models where status = 1")
            aliases = dict(store.execute("select alias, version from registered_model_aliases"))
            versions = store.execute(_VERSIONS).fetchall()
        crashed = 0
        if (prefect := self.folder / "prefect/prefect.db").exists():
            with closing(sqlite3.connect(prefect)) as server:
                crashed = int(
                    server.execute("select count(*) from flow_run where state_type = 'RUNNING'").fetchone()[0]
                )
        half = [
            v
            for v, place, verdict, status in versions
            if verdict != "pass" or status != "FINISHED" or not _whole(place)
        ]
        left = [p for p in psutil.process_iter() if _session_of(p.pid) in session]
        return {
            "half-registered versions": len(half),
            "wrong aliases": int(str(aliases.get("proven")) != str(result["version"])),
            "runs, models and flow runs left open": running + pending + crashed,
            "work folders left": len(list((self.folder / "tmp").glob("assay-work-*"))),
            "partial files in caches": len(list((self.folder / "cache").rglob("*.part"))),
            "processes left": len(left),
        }


@contextlib.contextmanager
def warmed(*places: Place) -> Iterator[None]:
    """Within this context exports there start in processes that have imported everything, and use one Prefect server.

    It can be entered once a process.

    Args:
        places: the first one's Prefect home and temporary folder serve them all.
    """
    with warm_context(places[0].environment) as (warm, address):
        for place in places:
            place.warm, place.environment["PREFECT_API_URL"] = warm, address
        yield
    for place in places:
        place.warm = None
        del place.environment["PREFECT_API_URL"]


def _whole(place: str) -> bool:
    """Is the file of a logged model there?"""
    return Path(place.removeprefix("file://"), "model.onnx").is_file()


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
