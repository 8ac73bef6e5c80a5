"""Fill a spec: from `deployments/catalog.yaml`, from torchvision's rules, from the working directory."""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tasks.core.errors import SpecError
from tasks.core.paths import CATALOG_FILE, PROJECT_FOLDER
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.recipes import INPUT_FIELDS, recipe_for
from tasks.core.spec.weights_kinds import WEIGHTS_CHOICES, weights_kind

_PATH_FIELDS = ("weights", "sample")
_FACTORY_NAMES = {"build", "create", "make", "model", "factory", "get", "load"} | {
    f"{verb}_model" for verb in ("build", "create", "make", "get", "load")
}
"""Names of callables that say nothing about what they make; the file's name does."""


def read_catalog(path: Path = CATALOG_FILE) -> dict[str, dict[str, Any]]:
    """Read the entries of the catalog: spec fields by name.

    Raises:
        SpecError: the file is no mapping of names to fields.
    """
    try:
        entries = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except FileNotFoundError:
        return {}
    except yaml.YAMLError as error:
        raise SpecError(f"{path.name} is not YAML: {str(error).replace(chr(10), ' ')}.") from error
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise SpecError(f"{path.name} must map each name to the fields of its spec.")
    return entries


def make_spec(**fields: Any) -> ExportSpec:
    """Make a spec; a wrong field gives one sentence.

    Raises:
        SpecError: a field is unknown or has a wrong value.
    """
    try:
        return ExportSpec(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SpecError(f"{where or 'spec'}: {first['msg']} (got {str(first['input'])[:80]!r}).") from error


def resolve(spec: ExportSpec, *, use_catalog: bool = True) -> ExportSpec:
    """Fill what the spec leaves empty; the result has a name, weights and absolute paths.

    A resolved spec states every field, so that it stays what it is when it is resolved again.

    Args:
        spec: what was asked for.
        use_catalog: its model may be an entry of the catalog.

    Raises:
        SpecError: an import path is incomplete or comes without weights, or the catalog entry is wrong.
    """
    if not isinstance(spec.model, str):
        if isinstance(spec.model, type) or not hasattr(spec.model, "state_dict"):
            shown = spec.model.__name__ if isinstance(spec.model, type) else type(spec.model).__name__
            raise SpecError(f"A model is text or an nn.Module, and {shown} is neither; give an instance of the class.")
        return spec.model_copy(
            update={"name": spec.name or type(spec.model).__name__, "weights": _or(spec.weights, "as-built")}
        )
    given = {k: v for k in spec.model_fields_set if (v := getattr(spec, k)) is not None}
    is_resolved = spec.model_fields_set == set(ExportSpec.model_fields) and spec.name and spec.weights is not None
    entry = read_catalog().get(spec.model) if use_catalog and not is_resolved else None
    if entry is not None:
        entry = {key: _from_project(key, value) for key, value in entry.items()}
        given = {"name": spec.model, **entry, **{k: v for k, v in given.items() if k != "model"}}
        given.setdefault("model", spec.model)
    model = str(given["model"])
    is_import_path = ":" in model
    file, colon, attribute = model.rpartition(":")
    if is_import_path and not (file and attribute):
        raise SpecError(f"{model} is half an import path; write package.module:Class or path/to/file.py:Class.")
    if not is_import_path and not re.fullmatch(r"[\w-]+", model):  # no name of torchvision's; torch need not be asked
        raise unknown_model(model, [])
    if is_import_path and given.get("weights") is None:
        raise SpecError(f"{model} needs --weights, one of: {WEIGHTS_CHOICES}.")
    if given.get("weights") is None:
        given["weights"] = "DEFAULT"
    if given.get("name") is None:
        given["name"] = _name_of(model)
    if not is_import_path and not is_resolved:
        given = {**_recipe(model, given), **given}
    if file.endswith(".py"):
        given["model"] = f"{Path(file).expanduser().resolve()}{colon}{attribute}"
    return _with_absolute_paths(make_spec(**given))


def _recipe(model: str, given: dict[str, Any]) -> dict[str, Any]:
    """What the recipe says beside what is given; about inputs nothing where they are given."""
    without = INPUT_FIELDS if given.get("inputs") else ()
    return {key: value for key, value in recipe_for(model).items() if key not in without}


def _with_absolute_paths(spec: ExportSpec) -> ExportSpec:
    fields = {field: getattr(spec, field) for field in ExportSpec.model_fields}
    if spec.sample is not None:
        fields["sample"] = spec.sample.expanduser().absolute()
    if weights_kind(spec) == "file":
        fields["weights"] = str(Path(spec.weights).expanduser().absolute())
    return make_spec(**fields)


def unknown_model(name: str, torchvision_names: list[str]) -> SpecError:
    """Make the error for a name that is neither in the catalog nor in torchvision."""
    known = [*read_catalog(), *torchvision_names]
    close = difflib.get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "see deployments/catalog.yaml and torchvision.models."
    return SpecError(
        f"{name!r} is no catalog entry and no torchvision model, and an import path looks like "
        f"package.module:Class or path/to/file.py:Class; {hint}"
    )


def _from_project(key: str, value: Any) -> Any:
    """Make a path of the catalog absolute; it is relative to the project's folder."""
    if isinstance(value, str) and (key in _PATH_FIELDS or key == "model"):
        candidate = PROJECT_FOLDER / value.rpartition(":")[0] if key == "model" else PROJECT_FOLDER / value
        if candidate.is_file():
            return str(PROJECT_FOLDER / value)
    return value


def _name_of(model: str) -> str:
    source, _, attribute = model.rpartition(":")
    if not source:
        return model
    if attribute.lower() in _FACTORY_NAMES:
        return Path(source).stem if source.endswith(".py") else source.rpartition(".")[2]
    return attribute.rpartition(".")[2]


def _or(value: Any, default: str) -> Any:
    return default if value is None else value
