"""Find the source files that a module came from."""

import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from tasks.core.families.python import own_source
from tasks.core.hashes import file_sha256
from tasks.core.paths import PROJECT_FOLDER

_imported_by: dict[str, set[str]] = {}
"""Names of the modules that the first build of a factory's file imported; a second one imports nothing."""


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
        path = own_source(found)
        if found is None or path is None or (key := _key(path)) in files:
            continue
        files[key] = file_sha256(path)
        for value in list(vars(found).values()):
            names.add(value.__name__ if isinstance(value, ModuleType) else str(getattr(value, "__module__", "")))
    return dict(sorted(files.items()))


def _key(path: Path) -> str:
    """Relative to the project where it lies inside: the manifest joins it to the project's folder."""
    return str(path.relative_to(PROJECT_FOLDER)) if path.is_relative_to(PROJECT_FOLDER) else str(path)
