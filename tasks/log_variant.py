"""Log a variant to MLflow, bad or good; register it as a model of its own if it is as good as was asked."""

from tasks.core.records.steps import Graph, Release
from tasks.core.records.variants import VariantEvidence
from tasks.mlflow_store.variants import log_and_register
from tasks.step import step


@step(seconds=3600, says=lambda release: release.model_uri or release.run_id)
def log_variant(name: str, graph: Graph, evidence: VariantEvidence, *, fingerprint: str = "") -> Release:
    """Log it, check what can be downloaded again, register what passed.

    Args:
        name: of its registered model.
        graph: of its file.
        evidence: what was measured.
        fingerprint: of all that decides it; empty: somebody else made it, and nothing is registered.

    Raises:
        ServiceError: the tracking server could not be reached.
        ExportError: the downloaded bytes are not the logged ones.
    """
    return log_and_register(name, graph, evidence, fingerprint=fingerprint)
