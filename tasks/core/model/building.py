"""Build the module with its weights, and report every key."""

import functools
import sys
import warnings

from torch import nn

from tasks.core.hashes import tensors_sha256
from tasks.core.inputs.choice import example_of
from tasks.core.model.alive import build_alive
from tasks.core.model.factories import build, find_factory, source_files
from tasks.core.records.steps import LoadReport, Weights
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.weights.loading import Loaded, load_state_dict
from tasks.core.weights.state_dicts import StateDict, find_tensors, read_state_dict
from tasks.core.weights.torchvision import weights_enum_member


def build_with_weights(spec: ExportSpec, weights: Weights) -> tuple[nn.Module, LoadReport]:
    """Build the spec's module, give it its weights, put it in eval mode.

    Raises:
        SpecError, ModelError: the factory can't be found or called.
        WeightsError: the weights do not fit.
        InputsError: random weights need an example input, and nothing says which.
    """
    imported_before = set(sys.modules)
    notes = _train_mode_note(spec.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # GoogLeNet and Inception announce a new default
        model, state, loaded = _build(spec, weights)
    text = spec.model if isinstance(spec.model, str) else None
    tensors = {name: value for name, value in model.state_dict().items() if hasattr(value, "dtype")}
    return model, LoadReport(
        num_loaded=loaded.num_loaded if loaded else len(tensors),
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        missing=loaded.missing if loaded else (),
        unexpected=loaded.unexpected if loaded else (),
        renamed=loaded.renamed if loaded else (),
        nesting=state.nesting if state else (),
        model_class=f"{type(model).__module__}.{type(model).__qualname__}",
        state_sha256=None if weights.tensors_sha256 else tensors_sha256(tensors),
        source_files=source_files(text, model, imported_before),
        notes=notes,
    )


def _train_mode_note(model: object) -> tuple[str, ...]:
    if not isinstance(model, nn.Module):
        return ()
    training = [path or "the module" for path, module in model.named_modules() if module.training]
    if not training:
        return ()
    return (f"{training[0]} was in train mode; it is proven in eval mode, and given back in train mode",)


def _build(spec: ExportSpec, weights: Weights) -> tuple[nn.Module, StateDict | None, Loaded | None]:
    if isinstance(spec.model, nn.Module):
        model = spec.model.eval()
    else:
        factory = find_factory(spec.model)
        kwargs = dict(spec.kwargs)
        if weights.kind == "torchvision":
            kwargs["weights"] = weights_enum_member(spec.model, str(spec.weights))
        if weights.kind == "random":
            model = build_alive(
                lambda: build(factory, kwargs, title=spec.title),
                functools.partial(example_of, spec),
                seed=weights.seed or 0,
            )
            return model, None, None
        model = build(factory, kwargs, title=spec.title)
    state = _state_dict(spec, weights)
    if state is None:
        return model, None, None
    loaded = load_state_dict(
        model, state.tensors, ignore_missing=spec.ignore_missing, ignore_unexpected=spec.ignore_unexpected
    )
    return model.eval(), state, loaded


def _state_dict(spec: ExportSpec, weights: Weights) -> StateDict | None:
    if weights.kind == "state_dict":
        return find_tensors(spec.weights, "the state_dict in memory")
    if weights.kind in ("file", "url", "mlflow"):
        assert weights.path is not None
        return read_state_dict(weights.path)
    return None
