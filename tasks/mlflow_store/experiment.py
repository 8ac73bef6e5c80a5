"""What the experiment shows beside its runs: what they are, and a saved view whose columns tell the verdict."""

import base64
import json
import time
import zlib

import mlflow
from mlflow.entities import Experiment

from tasks.mlflow_store.entries import NOTE
from tasks.mlflow_store.pages import MODELS_PAGE, VIEW_KEY, runs_page
from tasks.mlflow_store.shared_entries import write_shared

_VIEW = f"mlflow.sharedViewState.{VIEW_KEY}"
_COLUMNS = (
    "tags.`assay.verdict`", "tags.`assay.kind`", "metrics.`noise_ratio`", "metrics.`size_bytes`",
    "metrics.`latency_ms`", "params.`exporter`", "params.`weights`", "attributes.`User`",
)  # fmt: skip


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


def _description(experiment_id: str) -> str:
    return (
        f"[Verdicts of all runs]({runs_page(experiment_id)}) · [Registered models]({MODELS_PAGE}) · "
        f"✔ proven, ✘ wrong or failed, ? not proven\n\n"
        f"Each run is an attempt to turn a PyTorch model into an ONNX file that computes the same."
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
