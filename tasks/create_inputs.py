"""Step 3: choose example inputs, and plan the probes that validation will use."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import nn

from tasks.core.inputs.choice import Inputs, choose_inputs
from tasks.core.spec.export_spec import ResolvedSpec


@task(task_run_name="create-inputs-{spec.title}", timeout_seconds=600, cache_policy=NO_CACHE, persist_result=False)
def create_inputs(spec: ResolvedSpec, model: nn.Module) -> Inputs:
    """Choose names, dtypes, sizes and probes."""
    return choose_inputs(spec, model)
