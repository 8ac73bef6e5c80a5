"""The specs that options make."""

import argparse
from collections.abc import Iterable
from pathlib import Path

from flows.command_line.parsers import DEFAULT_MODEL
from tasks.core.errors import SpecError
from tasks.core.spec.destination import check_not_read, files_read
from tasks.core.spec.export_spec import ExportSpec, ResolvedSpec
from tasks.core.spec.resolve import make_spec, resolve


def make_specs(options: argparse.Namespace, *, use_catalog: bool = True) -> list[ResolvedSpec]:
    """Make one resolved spec a model.

    Args:
        options: with the list `models`, and the fields of a spec.
        use_catalog: a model may be an entry of the catalog.
    """
    given = {name: getattr(options, name, None) for name in ExportSpec.model_fields if name != "model"}
    fields = {name: value for name, value in given.items() if value is not None}
    models = options.models or [DEFAULT_MODEL]
    if "name" in fields and len(models) > 1:
        raise SpecError(f"--name {fields['name']} can't name {len(models)} models; export them one by one.")
    specs = [resolve(make_spec(model=model, **fields), use_catalog=use_catalog) for model in models]
    names = [spec.title for spec in specs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise SpecError(f"Two models are called {twice[0]}; export them one by one, each with a --name.")
    check_json(options, [file for spec in specs for file in files_read(spec)])
    return specs


def check_json(options: argparse.Namespace, files: Iterable[Path]) -> None:
    """Check that the JSON replaces nothing that is read; else a SpecError, and no JSON is written.

    Args:
        options: with `json`, which becomes None then.
        files: files and folders that are read.
    """
    if getattr(options, "json", None):
        try:
            check_not_read(Path(options.json), files)
        except SpecError:
            options.json = None
            raise
