"""Find what builds the model: a torchvision name, an import path or a file."""

import contextlib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from tasks.core.errors import ModelError, SpecError, one_line
from tasks.core.hashes import file_sha256
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.spec.catalog import unknown_model

Factory = Callable[..., nn.Module]

_folders: list[Path] = []
"""Folders of the files loaded by path, the latest first; their place is at the end of `sys.path`."""

_imported_by: dict[str, set[str]] = {}
"""Names of the modules that the first build of a factory's file imported; a second one imports nothing."""


def find_factory(model: str) -> Factory:
    """Find the callable that an import path, a file path or a torchvision name stands for.

    Raises:
        SpecError: nothing of that name exists, or it is not callable.
        ModelError: importing it raises.
    """
    source, colon, attribute = model.rpartition(":")
    if not colon:
        return _torchvision_factory(model)
    module = _load_file(Path(source)) if source.endswith(".py") else _import(source)
    found: Any = module
    for part in attribute.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        named = [n for n, v in vars(module).items() if callable(v) and getattr(v, "__module__", "") == module.__name__]
        raise SpecError(f"{source} has no callable {attribute!r}; it has {', '.join(named[:12]) or 'none'}.")
    return found  # type: ignore[no-any-return]  # any callable that returns a module


def build(factory: Factory, kwargs: dict[str, Any], *, title: str) -> nn.Module:
    """Call the factory and put the module in eval mode.

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


def source_files(model: str | None, module: nn.Module, imported_before: set[str]) -> dict[str, str]:
    """SHA-256 of each source file outside installed packages that the module's classes and factory came from.

    Args:
        model: the spec's model, if it is text.
        module: the built module.
        imported_before: names in `sys.modules` before the factory was imported.
    """
    source = model.rpartition(":")[0] if model else ""
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
        path = _own_source(found)
        if found is None or path is None or (key := _key(path)) in files:
            continue
        files[key] = file_sha256(path)
        for value in list(vars(found).values()):
            names.add(value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", "")))
    return dict(sorted(files.items()))


def _key(path: Path) -> str:
    """Relative to the project where it lies inside: the manifest joins it to the project's folder."""
    return str(path.relative_to(PROJECT_FOLDER)) if path.is_relative_to(PROJECT_FOLDER) else str(path)


def _own_source(module: ModuleType | None) -> Path | None:
    """The module's source, unless it belongs to an installed package, to Python or to Assay's own code."""
    file = getattr(module, "__file__", None)
    if not file or not file.endswith(".py") or not Path(file).is_absolute():  # torch.ops says that it is _ops.py
        return None
    path = Path(file).resolve()
    return None if _is_installed(path) else path


def _is_installed(path: Path) -> bool:
    """Is it Python's, a package's of this environment or of one that this one sees, or Assay's own?"""
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")}
    own = (PROJECT_FOLDER / folder for folder in ("tasks", "flows"))
    return any(path.is_relative_to(folder) for folder in (*installed, *own))


def _torchvision_factory(name: str) -> Factory:
    from torchvision import models

    if name not in models.list_models():
        raise unknown_model(name, models.list_models())
    builder = models.get_model_builder(name)
    takes_backbone = "weights_backbone" in inspect.signature(builder).parameters

    def build_torchvision(**kwargs: Any) -> nn.Module:
        # without this, segmentation and detection builders download a backbone
        without_backbone = {"weights_backbone": None} if takes_backbone and not kwargs.get("weights") else {}
        return builder(**{**without_backbone, **kwargs})  # type: ignore[no-any-return]

    return build_torchvision


def _import(name: str) -> ModuleType:
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # as `python -m` has it, and a script has not
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise SpecError(f"No module named {error.name}; install it, or write path/to/file.py:Class.") from error
        raise ModelError(f"Importing {name} needs the module {error.name}, which is not installed.") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything; it becomes one sentence
        raise ModelError(f"Importing {name} raised {type(error).__name__}: {one_line(error)}.") from error


def _load_file(path: Path) -> ModuleType:
    """Load a Python file as `python file.py` would: siblings can be imported, the module is called as the file."""
    if not path.is_file():
        raise SpecError(f"There is no file {path}; give path/to/file.py:Class.")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    _put_first(path.parent)
    plain = path.stem.replace(".", "_")
    for name in (plain, f"{plain}_{digest[:8]}"):
        known = sys.modules.get(name)
        if getattr(known, "__file__", None) == str(path) and getattr(known, "__assay_sha256__", "") == digest:
            assert known is not None
            return known
    if plain not in sys.modules and not _is_taken(plain, path):
        name = plain
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path} can't be loaded as Python.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    module.__assay_sha256__ = digest  # type: ignore[attr-defined]  # tells a reload from a changed file
    try:
        with _first_on_path(path.parent):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code may raise anything; it becomes one sentence
        del sys.modules[name]
        hint = f" For a module of a package write package.{path.stem}:Class." if "relative import" in str(error) else ""
        raise ModelError(f"Loading {path.name} raised {type(error).__name__}: {one_line(error)}.{hint}") from error
    return module


def _is_taken(name: str, path: Path) -> bool:
    """Would `import name` find something else, now or later? A file called onnx.py must not become onnx."""
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(name)
        return spec is not None and spec.origin != str(path)
    return False


def _put_first(folder: Path) -> None:
    """Let siblings be imported from this folder rather than from those of files loaded before.

    Without it two models that each `import layers` would share the layers of the first one. It stays at
    the end of `sys.path`, for factories that import a sibling only when called.
    """
    siblings = {path.stem if path.suffix == ".py" else path.name for path in folder.iterdir()}
    others = [other for other in _folders if other != folder]
    for name in [name for name in sys.modules if others and name.partition(".")[0] in siblings]:
        place = _place(sys.modules[name])
        if place and not place.is_relative_to(folder) and any(map(place.is_relative_to, others)):
            del sys.modules[name]
    for entry in map(str, _folders):
        if entry in sys.path:  # the last one: an earlier one is not from here
            del sys.path[len(sys.path) - 1 - sys.path[::-1].index(entry)]
    _folders[:] = [folder, *others]
    sys.path.extend(map(str, _folders))
    importlib.invalidate_caches()


def _place(module: ModuleType) -> Path | None:
    """Where a module lies, or a package without a file of its own; None for what is installed or Assay's."""
    if getattr(module, "__file__", None):
        return _own_source(module)
    path = next(iter(getattr(module, "__path__", ())), None)
    return None if path is None or _is_installed(Path(path)) else Path(path)


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
