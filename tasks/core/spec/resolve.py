"""Fill a spec: from the catalog, its family of models, the working directory; check that what it names exists."""

import difflib
import re
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from tasks.core.errors import SpecError
from tasks.core.families.family import Family
from tasks.core.families.registry import family_of
from tasks.core.families.transformers import PREFIX
from tasks.core.paths import PROJECT_FOLDER, near_miss
from tasks.core.spec.catalog import read_catalog
from tasks.core.spec.export_spec import ExportSpec, ResolvedSpec
from tasks.core.spec.input_memory import check_input_memory
from tasks.core.syntax import WEIGHTS_CHOICES
from tasks.core.weights.sources import check_weights, settled_weights, weights_kind

_Spec = TypeVar("_Spec", bound=ExportSpec)

_INPUT_FIELDS = ("inputs", "input_names", "static")
"""Fields that describe the inputs: whoever gives inputs of their own wants none of a family's."""


def make_spec(**fields: Any) -> ExportSpec:
    """Make a spec; a SpecError says in one sentence which field is unknown or has a wrong value."""
    return _made(ExportSpec, fields)


def resolve(spec: ExportSpec, *, use_catalog: bool = True, pins: bool = True) -> ResolvedSpec:
    """Fill what the spec leaves empty; a resolved one stays as it is. A value equal to its field's default is empty.

    A SpecError if no family takes the model, an import path comes without weights, or the catalog entry is wrong; a
    ServiceError if a server that knows the model can't be reached.

    Args:
        spec: what was asked for.
        use_catalog: its model may be an entry of the catalog.
        pins: a server may be asked what a model's text means now; else the spec is one to look at only.
    """
    if isinstance(spec, ResolvedSpec):
        return spec
    given = {key: v for key, field in ExportSpec.model_fields.items() if (v := getattr(spec, key)) != field.default}
    if use_catalog and isinstance(spec.model, str) and (entry := read_catalog().get(spec.model)) is not None:
        listed = {key: _from_project(key, value) for key, value in entry.items() if value is not None}
        own = {key: value for key, value in given.items() if key != "model"}
        given = {"name": spec.model, "model": spec.model, **listed, **own}
    model = given["model"]
    family = _find_family(model)
    known = family.fields(model)
    if pins:
        known |= family.pinned(known.get("model", model))
    if given.get("inputs"):
        known = {key: value for key, value in known.items() if key not in _INPUT_FIELDS}
    filled = {**known, **given, "model": known.get("model", model)}
    if "weights" not in filled:
        raise SpecError(f"{model} needs --weights, one of: {WEIGHTS_CHOICES}.")
    made = _made(ResolvedSpec, filled)
    sample = made.sample.expanduser().absolute() if made.sample else None
    return made.model_copy(update={"sample": sample, "weights": settled_weights(made)})


def check_files(spec: ResolvedSpec) -> None:
    """See in a moment, without PyTorch, that a spec's model, sample and weights exist; an AssayError if they don't."""
    family = known_family(spec)
    if (file := family.file_of(spec.model)) and not file.is_file():
        raise SpecError(f"There is no file {file}; a model of this kind is given as {family.syntax}{near_miss(file)}")
    if spec.task and spec.task not in (tasks := family.tasks()):
        choices = f"there are {', '.join(tasks)}" if tasks else "only those of transformers (hf:) have tasks"
        raise SpecError(f"--task {spec.task} is none that {spec.model} can have; {choices}.")
    family.check_trust(spec.model, trusted=spec.trust_remote_code)
    if spec.sample is not None and not spec.sample.is_file():
        raise SpecError(
            f"There is no sample file {spec.sample}; give an .npz with arrays by input name{near_miss(spec.sample)}"
        )
    check_input_memory(spec.inputs)
    if weights_kind(spec) != family.name:
        check_weights(spec)


def check(spec: ResolvedSpec) -> None:
    """As `check_files`; and that the model's code and the weights that its family names exist, neither of them used."""
    check_files(spec)
    family_of(spec.model).factory(spec.model)
    check_weights(spec)


def known_family(spec: ResolvedSpec) -> Family:
    """Find the family of a spec's model; a SpecError if it does not list the model."""
    family = family_of(spec.model)
    if isinstance(spec.model, str) and not family.lists(spec.model):
        raise unknown_name(spec.model, family.names(), family.name)
    return family


def _from_project(key: str, value: Any) -> Any:
    """Make a path of the catalog absolute; it is relative to the project's folder."""
    if key == "model" and isinstance(value, str) and value.startswith(PREFIX):
        folder = PROJECT_FOLDER / value.removeprefix(PREFIX)
        return f"{PREFIX}{folder}" if folder.is_dir() else value
    if isinstance(value, str) and key in ("model", "weights", "sample"):
        file = value.rpartition(":")[0] if key == "model" else value
        return str(PROJECT_FOLDER / value) if (PROJECT_FOLDER / file).is_file() else value
    return value


def _made(kind: type[_Spec], fields: dict[str, Any]) -> _Spec:
    try:
        return kind(**fields)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise SpecError(f"{where or 'spec'}: {first['msg']} (got {str(first['input'])[:80]!r}).") from error


def _find_family(model: object) -> Family:
    try:
        return family_of(model)
    except LookupError:
        if isinstance(model, str):
            raise unknown_name(model) from None
        shown = model.__name__ if isinstance(model, type) else type(model).__name__
        message = f"A model is text or an nn.Module, and {shown} is neither; give an instance of the class."
        raise SpecError(message) from None


def unknown_name(model: str, names: Sequence[str] = (), family: str = "torchvision") -> SpecError:
    """Make the error for a name that is neither in the catalog nor among the family's, with those close to it.

    Args:
        model: as it was written.
        names: of the family.
        family: its name.
    """
    known = {re.sub("[^a-z0-9]", "", name.lower()): name for name in (*names, *read_catalog())}
    close = [known[key] for key in difflib.get_close_matches(re.sub("[^a-z0-9]", "", model.lower()), known, n=3)]
    hint = (
        f"did you mean {' or '.join(close)}?"
        if close
        else "export.py --list shows those of catalog.yaml, and the rest."
    )
    if model.endswith(".py"):
        return SpecError(f"{model!r} names no class in the file; write {model}:Class.")
    if model.endswith(".onnx"):
        return SpecError(f"{model!r} is a file, where the model comes first; write verify.py MODEL {model}.")
    return SpecError(
        f"{model!r} is no catalog entry and no {family} model, and an import path looks like "
        f"package.module:Class or path/to/file.py:Class; {hint}"
    )
