"""Packages of a user's own that are called as Assay's are: in the user's code `import tasks.net` means the user's.

Two packages can't have one name in `sys.modules`. The user's `tasks` is there as `own_tasks`, and the code of the
user's files gets an `__import__` that looks there.
"""

import builtins
import importlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from typing_extensions import override

from tasks.core.paths import PROJECT_FOLDER

NAMES = ("deployments", "flows", "tasks")
"""Assay's own packages."""
_PREFIX = "own_"


def plain_name(name: str) -> str:
    """The name by which a user's code calls a module."""
    plain = name.removeprefix(_PREFIX)
    return plain if plain.partition(".")[0] in NAMES else name


class Namesakes(MetaPathFinder):
    """Finds the user's packages of these names, and lets the user's files import them."""

    def __init__(self, is_users: Callable[[Path], bool]) -> None:
        """Tell the user's files from others by `is_users`."""
        self._is_users = is_users
        self._roots: dict[str, Path] = {}
        """Folder that holds the user's package, by the name that it has here."""

    def look_in(self, folders: Iterable[Path]) -> None:
        """From now on a name means what lies in the first folder that has it, Assay's own left aside."""
        given = [Path(entry) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
        candidates = [folder.resolve() for folder in (*folders, Path.cwd(), *given)]
        roots = {}
        for name in NAMES:
            having = (f for f in candidates if f != PROJECT_FOLDER and PathFinder.find_spec(name, [str(f)]))
            if (root := next(having, None)) is not None:
                roots[_PREFIX + name] = root
        if roots != self._roots:
            for name, module in list(sys.modules.items()):
                if str(vars(module).get("__name__")).partition(".")[0] in self._roots:
                    del sys.modules[name]
        self._roots = roots
        if self in sys.meta_path:
            sys.meta_path.remove(self)
        if roots:
            sys.meta_path.insert(0, self)

    def name_of(self, name: str) -> str:
        """The name that a module of this name has in `sys.modules` if the user's code asks for it."""
        own = _PREFIX + name
        return own if own.partition(".")[0] in self._roots else name

    def adopt(self, module: ModuleType) -> None:
        """Let a module of the user's, before its code runs, import the user's packages."""
        if self._roots:
            module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}

    def _import(self, name: str, globals_: Any = None, locals_: Any = None, *more: Any) -> ModuleType:
        level = more[1] if len(more) > 1 else 0
        try:
            return builtins.__import__(name if level else self.name_of(name), globals_, locals_, *more)
        except ModuleNotFoundError as error:
            missing = plain_name(error.name or "")
            if missing == error.name:
                raise
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing) from None

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of the user's; its code will import the user's packages."""
        own = self.name_of(fullname)
        if own != fullname:  # by importlib, of which nobody knows who calls it
            return None if PathFinder.find_spec(fullname, path) else ModuleSpec(fullname, _Alias(own))
        root = self._roots.get(fullname)
        spec = PathFinder.find_spec(fullname.removeprefix(_PREFIX), [str(root)]) if root else None
        spec = spec or PathFinder.find_spec(fullname, path)
        if spec is None or (root is None and not _is_source(spec, self._is_users)):
            return None
        found = ModuleSpec(fullname, None, origin=spec.origin, is_package=spec.submodule_search_locations is not None)
        if found.submodule_search_locations is not None:
            found.submodule_search_locations += list(spec.submodule_search_locations or ())
        if spec.origin:
            found.loader, found.has_location = _Loader(fullname, spec.origin, self.adopt), True
        return found


class _Alias(Loader):
    """Gives the user's module by the name that Assay's would have."""

    def __init__(self, name: str) -> None:
        self._name = name

    @override
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return importlib.import_module(self._name)

    @override
    def exec_module(self, module: ModuleType) -> None:
        """Nothing: it ran under its own name."""


class _Loader(SourceFileLoader):
    """Loads a file of the user's."""

    def __init__(self, name: str, path: str, adopt: Callable[[ModuleType], None]) -> None:
        super().__init__(name, path)
        self._adopt = adopt

    @override
    def exec_module(self, module: ModuleType) -> None:
        self._adopt(module)
        super().exec_module(module)


def _is_source(spec: ModuleSpec, is_users: Callable[[Path], bool]) -> bool:
    return bool(spec.origin) and str(spec.origin).endswith(".py") and is_users(Path(str(spec.origin)).resolve())
