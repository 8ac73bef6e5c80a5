"""Build the module with its weights, and report every key."""

import contextlib
import functools
import inspect
import sys
import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

from tasks.core.errors import ModelError, one_line
from tasks.core.hashes import tensors_sha256
from tasks.core.inputs.choice import example_of
from tasks.core.model.random_weights import build_with_random_weights
from tasks.core.model.sources import source_files
from tasks.core.records.steps import LoadReport, Weights
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import known_family
from tasks.core.weights.loading import Loaded, load_state_dict
from tasks.core.weights.state_dicts import StateDict, find_tensors, read_state_dict


def build_with_weights(spec: ResolvedSpec, weights: Weights) -> tuple[nn.Module, LoadReport]:
    """Build the spec's module, give it its weights, put it in eval mode.

    Args:
        spec: what is exported.
        weights: what its source found.

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


def _build(spec: ResolvedSpec, weights: Weights) -> tuple[nn.Module, StateDict | None, Loaded | None]:
    loads_itself = False
    if isinstance(spec.model, nn.Module):
        model = spec.model.eval()
    else:
        family = known_family(spec)
        factory, kwargs = family.factory(spec.model), dict(spec.kwargs)
        if weights.kind == "random":
            model = build_with_random_weights(
                lambda: build(factory, kwargs, title=spec.title),
                functools.partial(example_of, spec),
                seed=weights.seed or 0,
            )
            return model, None, None
        if weights.kind == family.name:
            arguments = family.weights_arguments(spec.model, spec.weights)
            kwargs, loads_itself = {**kwargs, **arguments}, bool(arguments)
        model = build(factory, kwargs, title=spec.title)
    state = None if loads_itself else _state_dict(spec, weights)
    if state is None:
        return model, None, None
    loaded = load_state_dict(
        model, state.tensors, ignore_missing=spec.ignore_missing, ignore_unexpected=spec.ignore_unexpected
    )
    return model.eval(), state, loaded


def build(factory: Callable[..., nn.Module], kwargs: dict[str, Any], *, title: str) -> nn.Module:
    """Call the factory and put the module in eval mode.

    Args:
        factory: makes the module.
        kwargs: its arguments.
        title: what messages call the model.

    Raises:
        ModelError: the factory raises, or returns something else.
    """
    try:
        model = factory(**kwargs)
    except TypeError as error:
        with contextlib.suppress(ValueError, TypeError):
            raise ModelError(
                f"{title} can't be built with {kwargs or 'no arguments'} ({error}); its signature is "
                f"{inspect.signature(factory)}: set its arguments with --kwargs JSON."
            ) from error
        raise ModelError(f"{title} can't be built with {kwargs} ({error}).") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything; it becomes one sentence
        raise ModelError(f"Building {title} raised {type(error).__name__}: {one_line(error)}.") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{title} returned {type(model).__name__}, not an nn.Module; name a callable that does.")
    return model.eval()


def _state_dict(spec: ResolvedSpec, weights: Weights) -> StateDict | None:
    if weights.kind == "state_dict":
        return find_tensors(spec.weights, "the state_dict in memory")
    return None if weights.path is None else read_state_dict(weights.path)
