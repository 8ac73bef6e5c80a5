"""Step 2: build the module, load its weights, and note what decides the file."""

from typing import TYPE_CHECKING

from tasks.core.provenance.manifest import make_manifest
from tasks.core.records.steps import Weights
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.step import step

if TYPE_CHECKING:
    from tasks.core.reference.module import BuiltModule


@step(
    seconds=1800,
    says=lambda module: f"{module.report.model_class}, {module.report.num_parameters:,} parameters",
    keeps=lambda module: {"weights": module.weights, "report": module.report, "manifest": module.manifest},
)
def instantiate_model(spec: ResolvedSpec, weights: Weights) -> "BuiltModule":
    """Build the module in eval mode; report every key loaded, missing, unexpected and renamed.

    Args:
        spec: what was asked for.
        weights: a verified local file, or how to make them.
    """
    from tasks.core.model.building import build_with_weights
    from tasks.core.reference.module import BuiltModule

    network, report = build_with_weights(spec, weights)
    weights = weights.settled(report)
    return BuiltModule(spec, weights, report, make_manifest(spec, weights, report), [network])
