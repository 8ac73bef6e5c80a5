"""Has anything changed since the newest proven version was exported? Needs no PyTorch."""

from tasks.core.provenance.attempts import PastExport
from tasks.core.provenance.manifest import changes_without_weights, differences
from tasks.core.records.steps import ExportResult, Manifest
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.weights.sources import same_weights


def find_unchanged(
    spec: ResolvedSpec, proven: PastExport | None, manifest: Manifest | None = None
) -> ExportResult | None:
    """The newest proven export, if all that decides it is as it was.

    Args:
        spec: what was asked for.
        proven: as `find_proven` gives it.
        manifest: of the module, once it is built; None: what can be seen before is held against the proven one's.
    """
    if proven is None or proven.damage:
        return None
    before = proven.manifest
    if manifest is not None:
        is_true = not differences(before, manifest)
    else:
        is_text = isinstance(spec.weights, str) and isinstance(spec.model, str)
        # what only a server or the model's own code knows of the weights has to be fetched and hashed
        is_true = is_text and not changes_without_weights(before, spec) and same_weights(spec, before.weights_file)
    return proven.unchanged(spec) if is_true else None
