"""What the experiment shows beside its runs: what they are, and a saved view whose columns tell the verdict."""

import base64
import json
import time
import zlib

import mlflow
from mlflow.entities import Experiment

from tasks.core.reports.markdown import escaped, link_line
from tasks.mlflow_store.entries import NOTE
from tasks.mlflow_store.pages import MODELS_PAGE, VIEW_KEY, runs_page
from tasks.mlflow_store.shared_entries import write_shared

_VIEW = f"mlflow.sharedViewState.{VIEW_KEY}"
_COLUMNS = (
    "tags.`assay.verdict`", "tags.`assay.kind`", "metrics.`noise_ratio`", "metrics.`size_bytes`",
    "metrics.`latency_ms`", "params.`exporter`", "params.`weights`", "attributes.`User`",
)  # fmt: skip
_BETWEEN = " · "
"""Two links of a line."""
_NUM_NEWEST = 3
"""Attempts that fit into the line."""


def describe_experiment(client: mlflow.MlflowClient, experiment: Experiment) -> None:
    """Give an experiment its saved view, and a description where nobody wrote one.

    Args:
        client: of its store.
        experiment: of exports.
    """
    wanted = {} if NOTE in experiment.tags else {NOTE: _description(experiment.experiment_id)}
    state = _view_state()
    if json.loads(experiment.tags.get(_VIEW, "{}")).get("state") != state:
        now = int(time.time() * 1000)
        wanted[_VIEW] = json.dumps({"name": "Verdicts", "createdAt": now, "updatedAt": now, "state": state})
    for key, value in wanted.items():
        write_shared(client.set_experiment_tag, experiment.experiment_id, key, value)


def note_newest(client: mlflow.MlflowClient, experiment_id: str, link: tuple[str, str]) -> None:
    """Let the description of an experiment, unless a person wrote it, lead to an attempt that has ended.

    Args:
        client: of its store.
        experiment_id: of exports.
        link: what the attempt is called, and its page.
    """
    head, _, legend = _description(experiment_id).partition("\n")
    before = client.get_experiment(experiment_id).tags.get(NOTE, "")
    if not before.startswith(head):
        return
    known = before.partition("\n")[0].removeprefix(head).split(_BETWEEN)
    newest = link_line([(escaped(link[0]), link[1])])
    label = newest.partition("](")[0]
    links = [newest, *(other for other in known if other and not other.startswith(f"{label}]("))][:_NUM_NEWEST]
    line = _BETWEEN.join([head, *links])
    write_shared(client.set_experiment_tag, experiment_id, NOTE, f"{line}\n{legend}")


def _description(experiment_id: str) -> str:
    """Its first line is all that MLflow shows before a click."""
    return (
        f"[Verdicts of all runs]({runs_page(experiment_id)}){_BETWEEN}[Registered models]({MODELS_PAGE})\n\n"
        f"✔ proven, ✘ wrong or failed, ? not proven: each run is an attempt to turn a PyTorch model into an ONNX file "
        f"that computes the same; the newest are linked."
    )


def _view_state() -> str:
    """The state of MLflow's list of runs, as its own button to share a view packs it."""
    state = {
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "searchFilter": "",
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "modelVersionFilter": "All Runs",
        "datasetsFilter": [],
        "selectedColumns": list(_COLUMNS),
        "columnOrder": list(_COLUMNS),
        "runListHidden": False,
        "viewMaximized": False,
    }
    return "deflate;" + base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
