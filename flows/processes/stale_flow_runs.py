"""Flow runs say whose they are; those of processes of this machine that were killed are set to Crashed."""

import contextlib
from typing import Any

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName, FlowRunFilter, FlowRunFilterState
from prefect.client.schemas.filters import FlowRunFilterStateType as StateFilter
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.states import Crashed

from tasks.core.runtime.owners import is_alive, is_of_this_machine, owner

_OWNER = "assay.owner"
"""Label of a flow run."""
_FLOWS = ["export-model", "verify-files", "sweep-models", "sweep"]


def claim(flow: Any, flow_run: FlowRun, state: Any) -> None:
    """Write down whose a flow run is; a hook of flows that begin to run.

    Args:
        flow: that runs.
        flow_run: of it.
        state: that it is in.
    """
    with contextlib.suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        client.update_flow_run_labels(flow_run.id, {_OWNER: owner()})


def crash_stale_flow_runs() -> None:
    """Set the flow runs of Assay to Crashed that a process of this machine left running when it was killed."""
    ours = FlowFilter(name=FlowFilterName(any_=_FLOWS))
    running = FlowRunFilter(state=FlowRunFilterState(type=StateFilter(any_=[StateType.RUNNING])))
    with contextlib.suppress(httpx.HTTPError), get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_filter=ours, flow_run_filter=running):
            who = str(run.labels.get(_OWNER, ""))
            if who and is_of_this_machine(who) and not is_alive(who):
                message = f"Its process ({who.split('/')[-2]} on {who.split('/')[0]}) ended without a word."
                client.set_flow_run_state(run.id, Crashed(message=message), force=True)
