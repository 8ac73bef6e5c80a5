"""Addresses of MLflow's pages: whole ones to print, and relative ones for what is read within the UI."""

from urllib.parse import quote

import mlflow

from tasks.core.sentences import without_secrets

VIEW_KEY = "assay"
"""Of the saved view of runs, as `experiment.py` makes it."""
_CLASSIC = "workflowType=machine_learning"
"""Without it MLflow opens its pages for language models."""
MODELS_PAGE = f"#/models?{_CLASSIC}"


def run_page(experiment_id: str, run_id: str, tab: str = "") -> str:
    """A run.

    Args:
        experiment_id: of the run.
        run_id: its id.
        tab: of its page: `model-metrics`, `artifacts/FILE`; empty: the first.
    """
    return f"#/experiments/{experiment_id}/runs/{run_id}{f'/{tab}' if tab else ''}?{_CLASSIC}"


def runs_page(experiment_id: str) -> str:
    """The list of runs with the columns that tell the verdict."""
    return f"#/experiments/{experiment_id}/runs?viewStateShareKey={VIEW_KEY}&{_CLASSIC}"


def file_page(experiment_id: str, model_id: str) -> str:
    """The files of a logged model.

    Args:
        experiment_id: of its run.
        model_id: its id.
    """
    return f"#/experiments/{experiment_id}/models/{model_id}/artifacts?{_CLASSIC}"


def version_page(name: str, version: str) -> str:
    """A registered version.

    Args:
        name: of the model.
        version: its number.
    """
    return f"#/models/{quote(name, safe='')}/versions/{version}?{_CLASSIC}"


def address_of(page: str) -> str:
    """The whole address of a page: the tracking server's, or where `mlflow ui` listens by default."""
    uri = without_secrets(mlflow.get_tracking_uri())
    return f"{uri.rstrip('/') if uri.startswith('http') else 'http://127.0.0.1:5000'}/{page}"
