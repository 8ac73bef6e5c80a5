"""Has anything changed since the champion was exported? Needs no PyTorch."""

from tasks.core.provenance.attempts import PastExport
from tasks.core.provenance.manifest import changes_without_weights, differences
from tasks.core.records.steps import ExportResult, Manifest
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.weights.sources import same_weights


def find_unchanged(
    spec: ResolvedSpec, champion: PastExport | None, manifest: Manifest | None = None
) -> ExportResult | None:
    """The champion's export, if all that decides it is as it was.

    Args:
        spec: what was asked for.
        champion: as `find_champion` gives it.
        manifest: of the module, once it is built; None: what can be seen before is held against the champion's.
    """
    if champion is None:
        return None
    before = champion.manifest
    if manifest is not None:
        is_true = not differences(before, manifest)
    else:
        is_text = isinstance(spec.weights, str) and isinstance(spec.model, str)
        # what only a server or the model's own code knows of the weights has to be fetched and hashed
        is_true = is_text and not changes_without_weights(before, spec) and same_weights(spec, before.weights_file)
    return champion.unchanged(spec) if is_true else None
