"""A live module is the user's own: it is given back as it was. Needs no PyTorch where the model is text."""

import contextlib
from collections.abc import Iterator

from tasks.core.spec.export_spec import ExportSpec


@contextlib.contextmanager
def borrowed(spec: ExportSpec) -> Iterator[None]:
    """Within this context a live module may be changed; then it has its training modes and its tensors again."""
    model = spec.model
    if isinstance(model, str):
        yield
        return
    modes = {module: module.training for module in model.modules()}
    state = {} if spec.weights in (None, "as-built") else model.state_dict()
    kept = {key: value.detach().clone() for key, value in state.items() if hasattr(value, "detach")}
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        own = model.state_dict(keep_vars=True)
        for key, value in kept.items():
            own[key].data.copy_(value)
