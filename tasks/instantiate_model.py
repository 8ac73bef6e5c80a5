"""Step 2: build the module and load its weights."""

from prefect import task
from prefect.cache_policies import NO_CACHE
from torch import nn

from tasks.core.model.building import build_with_weights
from tasks.core.records.steps import LoadReport, Weights
from tasks.core.spec.export_spec import ResolvedSpec


@task(task_run_name="instantiate-{spec.title}", timeout_seconds=1800, cache_policy=NO_CACHE, persist_result=False)
def instantiate_model(spec: ResolvedSpec, weights: Weights) -> tuple[nn.Module, LoadReport]:
    """Build the module in eval mode; report every key loaded, missing, unexpected and renamed."""
    return build_with_weights(spec, weights)
