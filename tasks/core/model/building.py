"""Build the module with its weights, and report every key and source file."""

import contextlib
import copy
import functools
import inspect
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from rich.filesize import decimal
from torch import nn

from tasks.core.errors import AssayError, ModelError, is_out_of_memory, one_line
from tasks.core.families.family import Family
from tasks.core.families.python import PythonFamily, as_program, own_source
from tasks.core.families.registry import family_of
from tasks.core.families.torchvision import models_of_file
from tasks.core.hashes import file_sha256, tensors_sha256
from tasks.core.inputs.choice import example_of
from tasks.core.memory_guard import free_bytes, guarded
from tasks.core.model.call_options import set_call_options
from tasks.core.model.lazy_modules import settle_lazy_modules
from tasks.core.model.random_weights import build_with_random_weights
from tasks.core.model.wrappers import unwrapped, without_replicas
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.records.steps import LoadReport, Weights
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import known_family
from tasks.core.weights.checkpoint_files import read_sets
from tasks.core.weights.loading import Loaded, load_weights
from tasks.core.weights.state_dicts import find_sets

log = logging.getLogger("assay")

_imported_by: dict[str, set[str]] = {}
"""Names of the modules that the first build of a factory's file imported; a second one imports nothing."""


def build_with_weights(spec: ResolvedSpec, weights: Weights) -> tuple[nn.Module, LoadReport]:
    """Build the spec's module, give it its weights, put it in eval mode; an AssayError says which of these failed.

    Args:
        spec: what is exported.
        weights: what its source found.
    """
    imported_before = set(sys.modules)
    notes = _train_mode_notes(spec.model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # GoogLeNet and Inception announce a new default
        model, loaded, found = _build(spec, weights)
    family = family_of(spec.model)
    set_call_options(model, spec)
    notes = (*notes, *found, *family.loading_notes(model), *without_replicas(model))
    state = model.state_dict()
    loaded = loaded or Loaded(num_loaded=sum(isinstance(value, torch.Tensor) for value in state.values()))
    for note in loaded.notes:
        log.info("%s", note)
    return model, LoadReport(
        **{name: value for name, value in vars(loaded).items() if name not in ("tensors", "notes")},
        num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        model_class=f"{type(model).__module__}.{type(model).__qualname__}",
        state_sha256=None if weights.tensors_sha256 else tensors_sha256(loaded.tensors or state),
        source_files={
            **_source_files(spec.model, model, imported_before),
            **{str(path): file_sha256(path) for path in family.source_files(spec.model)},
        },
        notes=(*notes, *loaded.notes),
        preprocessing=family.preprocessing(spec.model, model),
    )


def build(factory: Callable[..., nn.Module], kwargs: dict[str, Any], *, title: str) -> nn.Module:
    """Call the factory and put the module in eval mode; a ModelError if it raises, or returns something else.

    Args:
        factory: makes the module.
        kwargs: its arguments.
        title: what messages call the model.
    """
    if isinstance(factory, nn.Module):
        return _copy_of_instance(factory, kwargs, title=title)
    module, available = sys.modules.get(getattr(factory, "__module__", None) or ""), free_bytes()
    try:
        with as_program(getattr(module, "__file__", None) or title), guarded(available):
            model = factory(**kwargs)
    except TypeError as error:
        with contextlib.suppress(ValueError, TypeError):
            raise ModelError(
                f"{title} can't be built with {kwargs or 'no arguments'} ({error}); its signature is "
                f"{inspect.signature(factory)}: set its arguments with --kwargs JSON."
            ) from error
        raise ModelError(f"{title} can't be built with {kwargs} ({error}).") from error
    except AssayError:  # of a family's own factory
        raise
    except (Exception, SystemExit) as error:  # the user's code may raise anything; it becomes one sentence
        if is_out_of_memory(error):
            raise ModelError(
                f"Building {title} asks for more memory than the {decimal(int(available))} that are free "
                f"({one_line(error) or 'MemoryError'}); give it smaller arguments (--kwargs), or free some."
            ) from error
        raise ModelError(f"Building {title} raised {type(error).__name__}: {one_line(error)}.") from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{title} returned {type(model).__name__}, not an nn.Module; name a callable that does.")
    return _in_eval_mode(model)


def _copy_of_instance(model: nn.Module, kwargs: dict[str, Any], *, title: str) -> nn.Module:
    """A copy, in eval mode, of a module that a MODEL text names: whoever names it again gets it as it was."""
    if kwargs:
        raise ModelError(f"{title} is a module already and takes no arguments; leave out --kwargs, or name its class.")
    try:
        return _in_eval_mode(copy.deepcopy(model))
    except Exception as error:  # a module may hold anything
        raise ModelError(
            f"{title} is a module already, and can't be copied ({type(error).__name__}: {one_line(error)}); "
            f"name its class, or a function that makes it."
        ) from error


def _prepared(spec: ResolvedSpec, model: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """The module in eval mode out of its wrappers, every parameter with a shape and values; and notes."""
    model, notes = unwrapped(model)
    tensors = (*model.named_parameters(), *model.named_buffers())
    if empty := [name for name, tensor in tensors if tensor.is_meta]:
        shown = ", ".join(empty[:3]) + (f" and {len(empty) - 3} more" if len(empty) > 3 else "")
        raise ModelError(f"{spec.title} has no values in {shown} (meta device); build it on the CPU.")
    settle_lazy_modules(_in_eval_mode(model), functools.partial(example_of, spec))
    return model, notes


def _in_eval_mode(model: nn.Module) -> nn.Module:
    """The module in eval mode; a program of torch.export has none, and is taken as it was exported."""
    with contextlib.suppress(NotImplementedError):
        model.eval()
    return model


def _train_mode_notes(model: object) -> tuple[str, ...]:
    for path, module in model.named_modules() if isinstance(model, nn.Module) else ():
        if getattr(module, "training", False):  # torch.jit.freeze takes it away
            name = path or "the module"
            return (f"{name} was in train mode; it is proven in eval mode, and given back in train mode",)
    return ()


def _build(spec: ResolvedSpec, weights: Weights) -> tuple[nn.Module, Loaded | None, tuple[str, ...]]:
    """The module, what became of the keys (None where no file or state_dict was loaded here), and notes."""
    notes: tuple[str, ...] = ()
    if isinstance(spec.model, nn.Module):
        model, notes = _prepared(spec, spec.model)
    else:
        family = known_family(spec)
        factory = family.factory(spec.model)
        name = spec.weights if weights.kind == family.name else weights.named
        named = family.weights(spec.model, name) if name else None
        arguments = named.arguments if named else {}
        if named and named.path_argument:
            arguments = {**arguments, named.path_argument: weights.path}
        asked: dict[str, Any] = {"task": spec.task} if spec.task else {}
        asked |= {"trust_remote_code": True} if spec.trust_remote_code else {}

        def make() -> nn.Module:
            nonlocal notes
            made, notes = _prepared(spec, build(factory, {**spec.kwargs, **asked, **arguments}, title=spec.title))
            if weights.kind == "random" and isinstance(made, torch.jit.ScriptModule):
                raise ModelError(
                    f"{spec.title} is a ScriptModule, which takes no random weights; name what it is made of."
                )
            return made

        if weights.kind == "random":
            if isinstance(factory, nn.Module):
                raise ModelError(
                    f"{spec.title} is a module already, not built anew; give --weights as-built or a file."
                )
            model = build_with_random_weights(make, functools.partial(example_of, spec), seed=weights.seed or 0)
            return model, None, notes
        if named and arguments:
            by_name = _name_notes(family, spec.model, weights)
            try:
                with family.loading(named, lambda: read_sets(weights.path or Path())[0].tensors):
                    return make(), None, (*notes, *by_name)
            except ModelError:
                if not by_name:
                    raise
            arguments = {}  # of another network, or saved otherwise: what does not fit is said key by key
        model = make()
    if weights.kind == "state_dict":
        sets = find_sets(spec.weights, "the state_dict in memory")
    elif weights.path is not None:
        sets = read_sets(weights.path, part=weights.part)
    else:
        return model, None, notes
    loaded = load_weights(model, sets, ignore_missing=spec.ignore_missing, ignore_unexpected=spec.ignore_unexpected)
    return _in_eval_mode(model), loaded, (*notes, *_torchvision_notes(model, spec, weights))


def _name_notes(family: Family, model: str, weights: Weights) -> tuple[str, ...]:
    """What a reader should know of a file that its name alone makes one of the family's own."""
    if not weights.named or weights.path is None or family.name_of_file(model, "", weights.file_sha256 or ""):
        return ()
    return (f"{weights.path.name} has the name of {weights.named}, not its SHA-256: built as it, with these weights",)


def _torchvision_notes(module: nn.Module, spec: ResolvedSpec, weights: Weights) -> tuple[str, ...]:
    """Where a file of torchvision's is loaded into a module of torchvision's that somebody else built."""
    if weights.path is None or weights.named or not type(module).__module__.startswith("torchvision."):
        return ()
    if not (names := models_of_file(weights.path.name)):
        return ()
    return (
        f"{weights.path.name} is torchvision's own file; MODEL {names[0]} is built as torchvision builds it for these "
        f"weights (transform_input, eps of norms), {spec.title} may be another function",
    )


def _source_files(model: object, module: nn.Module, imported_before: set[str]) -> dict[str, str]:
    """SHA-256 of each source file outside installed packages that the module's classes and factory came from.

    A file inside the project is named relative to it: the manifest joins it to the project's folder.
    """
    source = model if isinstance(model, str) else ""
    if source and isinstance(family_of(source), PythonFamily):
        source = source.rpartition(":")[0]
    imported = _imported_by.setdefault(source, set())
    imported |= set(sys.modules) - imported_before
    names = {type(part).__module__ for part in module.modules()} | imported
    for name, module_now in list(sys.modules.items()):
        # not getattr, which makes lazy modules import themselves
        if source and source in (name, getattr(module_now, "__dict__", {}).get("__file__")):
            names.add(name)
    files: dict[str, str] = {}
    while names:
        name = names.pop()
        names |= {name.rpartition(".")[0]} - {""}  # a package's own file, too
        found = sys.modules.get(name)
        path = own_source(found)
        if found is None or path is None:
            continue
        key = str(path.relative_to(PROJECT_FOLDER) if path.is_relative_to(PROJECT_FOLDER) else path)
        if key not in files:
            files[key] = file_sha256(path)
            for value in list(vars(found).values()):
                names.add(value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", "")))
    return dict(sorted(files.items()))
