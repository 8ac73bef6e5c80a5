"""What Prefect's page of a sweep shows: how far it is, and a table of what came of each model."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact

from flows.processes.prefect_address import is_watched
from tasks.core.records.steps import ExportResult
from tasks.core.reports.sweep_page import headline, table_rows

Add = Callable[[ExportResult], None]


@contextlib.contextmanager
def shown(add: Add, num_models: int) -> Iterator[Add]:
    """Within this context of a flow each result is shown, too; at the end comes the table.

    Args:
        add: takes each result.
        num_models: that will come.
    """
    if not is_watched():
        yield add
        return
    results: list[ExportResult] = []
    progress: Any = create_progress_artifact(0.0, key="sweep-progress", description=f"0 of {num_models} models")

    def add_and_show(result: ExportResult) -> None:
        add(result)
        results.append(result)
        share, said = 100.0 * len(results) / num_models, f"{len(results)} of {num_models} models"
        update_progress_artifact(progress, progress=share, description=said)

    try:
        yield add_and_show
    finally:
        if results:
            create_table_artifact(table_rows(results), key="sweep-results", description=headline(results, num_models))
