"""Has anything changed since the champion was exported? Needs no PyTorch."""

from tasks.core.provenance.attempts import PastExport
from tasks.core.provenance.manifest import changes_without_weights, differences, same_weights
from tasks.core.records.manifest import Manifest
from tasks.core.records.steps import ExportResult
from tasks.core.spec.export_spec import ExportSpec


def find_unchanged(
    spec: ExportSpec, champion: PastExport | None, manifest: Manifest | None = None
) -> ExportResult | None:
    """The champion's export, if all that decides it is as it was.

    Args:
        spec: a resolved one.
        champion: as `find_champion` gives it.
        manifest: of the module, once it is built; None: what can be seen before is held against the champion's.
    """
    if champion is None:
        return None
    if manifest is not None:
        return None if differences(champion.manifest, manifest) else champion.unchanged(spec)
    if not isinstance(spec.weights, str) or not isinstance(spec.model, str):
        return None
    if changes_without_weights(champion.manifest, spec) or not same_weights(champion.manifest, spec):
        return None
    return champion.unchanged(spec)
