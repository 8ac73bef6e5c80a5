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

from tasks.core.catalog import unknown_model
from tasks.core.errors import ModelError, SpecError
from tasks.core.hashes import file_sha256
from tasks.core.places import PROJECT_FOLDER

Factory = Callable[..., nn.Module]


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
    except Exception as error:  # the user's code may raise anything; it becomes one sentence
        raise ModelError(f"Building {title} raised {type(error).__name__}: {_one_line(error)}.") from error
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
    names = {type(part).__module__ for part in module.modules()} | (set(sys.modules) - imported_before)
    source = model.rpartition(":")[0] if model else ""
    names |= {name for name, m in sys.modules.items() if source and source in (name, getattr(m, "__file__", None))}
    files: dict[str, str] = {}
    while names:
        found = sys.modules.get(names.pop())
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
    if not file or not file.endswith(".py"):
        return None
    path = Path(file).resolve()
    installed = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib", "stdlib")}
    own = (PROJECT_FOLDER / folder for folder in ("tasks", "flows"))
    if any(path.is_relative_to(folder) for folder in (*installed, *own)):
        return None
    return path


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
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise SpecError(f"No module named {error.name}; install it, or write path/to/file.py:Class.") from error
        raise ModelError(f"Importing {name} needs the module {error.name}, which is not installed.") from error
    except Exception as error:  # the user's code may raise anything; it becomes one sentence
        raise ModelError(f"Importing {name} raised {type(error).__name__}: {_one_line(error)}.") from error


def _load_file(path: Path) -> ModuleType:
    """Load a Python file as `python file.py` would: siblings can be imported, the module is called as the file."""
    if not path.is_file():
        raise SpecError(f"There is no file {path}; give path/to/file.py:Class.")
    name = path.stem
    known = sys.modules.get(name)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if known is not None:
        if getattr(known, "__file__", None) == str(path) and getattr(known, "__assay_sha256__", "") == digest:
            return known
        name = f"{name}_{digest[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path} can't be loaded as Python.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    module.__assay_sha256__ = digest  # type: ignore[attr-defined]  # tells a reload from a changed file
    try:
        with _first_on_path(path.parent):
            spec.loader.exec_module(module)
    except Exception as error:  # the user's code may raise anything; it becomes one sentence
        del sys.modules[name]
        raise ModelError(f"Loading {path.name} raised {type(error).__name__}: {_one_line(error)}.") from error
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))  # factories that import a sibling only when called
    return module


@contextlib.contextmanager
def _first_on_path(folder: Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
