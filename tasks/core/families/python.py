"""Models in Python code: `package.module:Class`, `path/to/file.py:Class`, or a live `nn.Module`."""

import contextlib
import importlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tasks.core.errors import ModelError, SpecError, one_line
from tasks.core.families.family import Family
from tasks.core.families.namesakes import NAMES, Namesakes, plain_name
from tasks.core.hashes import file_sha256
from tasks.core.paths import PROJECT_FOLDER

if TYPE_CHECKING:
    from torch import nn

_FACTORY_NAME = re.compile(r"(build|create|make|get|load)(_model)?|model|factory", re.IGNORECASE)
"""Names of callables that say nothing about what they make; the file's name does."""

_SIDES = ("image_size", "img_size", "input_size", "sample_size")
"""What modules and their configs call the sides of a picture: a number, or height and width."""
_LONGEST = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "max_length",
    "block_size",
    "context_length",
)
"""What they call the length of the longest sequence that they take."""
_LENGTHS = ("length", "sequence", "sequence_length", "seq", "seq_len", "seq_length", "tokens")
USUAL_LENGTH = 16
"""Traced at where a module can take as long a sequence."""

_folders: list[Path] = []
"""Folders of the files loaded by path, the latest first; their place is at the end of `sys.path`."""


class PythonFamily(Family):
    """Any callable that returns an nn.Module, by import path or file; and modules that are there already."""

    name = "python"
    syntax = "package.module:Class or path/to/file.py:Class"

    @override
    def recognises(self, model: object) -> bool:
        """Take any text with a colon, and what looks like a module (not a class)."""
        return ":" in model if isinstance(model, str) else hasattr(model, "state_dict") and not isinstance(model, type)

    @override
    def fields(self, model: Any) -> dict[str, Any]:
        """Named by the class, or by the file where the callable's name says nothing; a file's path made absolute."""
        if not isinstance(model, str):
            return {"name": _class_name(model), "weights": "as-built"}
        source, _, attribute = model.rpartition(":")
        if not (source and attribute):
            raise SpecError(f"{model} is half an import path; write {self.syntax}.")
        file = Path(source).expanduser().resolve() if source.endswith(".py") else None
        name = attribute.rpartition(".")[2]
        if _FACTORY_NAME.fullmatch(attribute):
            name = Path(source).stem if file else source.rpartition(".")[2]
        return {"name": name, "model": f"{file or source}:{attribute}"}

    @override
    def file_of(self, model: Any) -> Path | None:
        source = model.rpartition(":")[0] if isinstance(model, str) else ""
        return Path(source) if source.endswith(".py") else None

    @override
    def usual_sizes(self, model: Any, module: "nn.Module") -> dict[str, int]:
        """Numbers that the module or its `config` has under a name, its picture's sides, a length that it can take."""
        config = getattr(module, "config", None)
        known = {**vars(module), **(config if isinstance(config, dict) else getattr(config, "__dict__", {}))}
        sizes = {name: value for name, value in known.items() if type(value) is int and value > 1}
        side = next((known[name] for name in _SIDES if name in known), None)
        if isinstance(side, int) or (isinstance(side, tuple | list) and len(side) == 2):
            height, width = (side, side) if isinstance(side, int) else side
            sizes = {"height": height, "width": width, **sizes}
        if longest := next((sizes[name] for name in _LONGEST if name in sizes), None):
            sizes = {**dict.fromkeys(_LENGTHS, min(longest, USUAL_LENGTH)), **sizes}
        return sizes

    @override
    def factory(self, model: Any) -> "Callable[..., nn.Module]":
        if not isinstance(model, str):
            return lambda: model
        source, _, attribute = model.rpartition(":")
        file = self.file_of(model)
        module = _load_file(file) if file else _import(source)
        found: Any = module
        for part in attribute.split("."):
            found = getattr(found, part, None)
        if not callable(found):
            callables = {name: value for name, value in vars(module).items() if callable(value)}
            own = [name for name, value in callables.items() if getattr(value, "__module__", "") == module.__name__]
            raise SpecError(f"{source} has no callable {attribute!r}; it has {', '.join(own[:12]) or 'none'}.")
        return found  # type: ignore[no-any-return]  # any callable that returns a module


def _class_name(module: Any) -> str:
    """The name of a module's class: of the module inside, if it is wrapped; the one before scripting, if scripted."""
    parts, name = getattr(module, "_modules", {}), type(module).__name__
    inside = "module" if name in ("DataParallel", "DistributedDataParallel") else "_orig_mod"
    return _class_name(parts[inside]) if inside in parts else getattr(module, "original_name", name)


def own_source(module: ModuleType | None) -> Path | None:
    """Find a module's source file, unless it belongs to an installed package, to Python or to Assay's own code."""
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


_namesakes = Namesakes(lambda path: not _is_installed(path))


@contextlib.contextmanager
def as_program(source: str) -> Iterator[None]:
    """Within this context `sys.argv` is as in `python FILE`: code that parses its arguments gets none of Assay's.

    `source` is the file, or a module's name.
    """
    before = sys.argv
    sys.argv = [source]
    try:
        yield
    finally:
        sys.argv = before


def _import(name: str) -> ModuleType:
    _namesakes.look_in(())
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)  # as `python -m` has it, and a script has not
    known_as = _namesakes.name_of(name)
    try:
        with as_program(name):
            sys.argv[0] = getattr(importlib.util.find_spec(known_as), "origin", None) or name
            return importlib.import_module(known_as)
    except ModuleNotFoundError as error:
        missing = plain_name(error.name or "")
        if missing and (name == missing or name.startswith(f"{missing}.")):
            raise SpecError(f"No module named {missing}; install it, or write path/to/file.py:Class.") from error
        raise ModelError(f"Importing {name} needs the module {missing}, which is not installed.") from error
    except (Exception, SystemExit) as error:  # the user's code may raise anything; it becomes one sentence
        raise ModelError(f"Importing {name} raised {type(error).__name__}: {one_line(error)}.") from error


def _load_file(path: Path) -> ModuleType:
    """Load a Python file as `python file.py` would: siblings can be imported, the module is called as the file."""
    if not path.is_file():
        raise SpecError(f"There is no file {path}; give path/to/file.py:Class.")
    digest = file_sha256(path)
    _put_first(path.parent)
    _namesakes.look_in((path.parent, *(folder.parent for folder in path.parents if folder.name in NAMES)))
    plain = path.stem.replace(".", "_")
    for name in (plain, f"{plain}_{digest[:8]}"):
        known = sys.modules.get(name)
        if known and getattr(known, "__file__", "") == str(path) and getattr(known, "__assay_sha256__", "") == digest:
            return known
    # a file called onnx.py must not become onnx, now or later
    if plain not in sys.modules and getattr(importlib.util.find_spec(plain), "origin", str(path)) == str(path):
        name = plain
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"{path} can't be loaded as Python.")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    module.__assay_sha256__ = digest  # type: ignore[attr-defined]  # tells a reload from a changed file
    _namesakes.adopt(module)
    sys.path.insert(0, str(path.parent))
    try:
        with as_program(str(path)):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code may raise anything; it becomes one sentence
        del sys.modules[name]
        hint = f" For a module of a package write package.{path.stem}:Class." if "relative import" in str(error) else ""
        raise ModelError(f"Loading {path.name} raised {type(error).__name__}: {one_line(error)}.{hint}") from error
    finally:
        sys.path.remove(str(path.parent))
    return module


def _put_first(folder: Path) -> None:
    """Let siblings be imported from this folder rather than from those of files loaded before.

    Without it two models that each `import layers` would share the layers of the first one. It stays at
    the end of `sys.path`, for factories that import a sibling only when called.
    """
    siblings = {path.stem if path.suffix == ".py" else path.name for path in folder.iterdir()}
    others = [other for other in _folders if other != folder]
    for name in [name for name in list(sys.modules) if others and name.partition(".")[0] in siblings]:
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
        return own_source(module)
    path = next(iter(getattr(module, "__path__", ())), None)
    return None if path is None or _is_installed(Path(path)) else Path(path)
