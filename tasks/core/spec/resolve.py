"""Fill a spec: from the catalog, from its family of models, from the working directory."""

import difflib
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from tasks.core.errors import SpecError
from tasks.core.families.family import Family
from tasks.core.families.registry import family_of
from tasks.core.spec.catalog import find_entry, read_catalog
from tasks.core.spec.export_spec import ExportSpec, ResolvedSpec
from tasks.core.weights.sources import WEIGHTS_CHOICES, source_of

_Spec = TypeVar("_Spec", bound=ExportSpec)

_INPUT_FIELDS = ("inputs", "input_names", "static")
"""Fields that describe the inputs: whoever gives inputs of their own wants none of a family's."""


def make_spec(**fields: Any) -> ExportSpec:
    """Make a spec; a wrong field gives one sentence.

    Raises:
        SpecError: a field is unknown or has a wrong value.
    """
    return _made(ExportSpec, fields)


def resolve(spec: ExportSpec, *, use_catalog: bool = True) -> ResolvedSpec:
    """Fill what the spec leaves empty; a resolved one stays as it is. A value equal to its field's default is empty.

    Args:
        spec: what was asked for.
        use_catalog: its model may be an entry of the catalog.

    Raises:
        SpecError: no family takes such a model, an import path comes without weights, or the catalog entry is wrong.
    """
    if isinstance(spec, ResolvedSpec):
        return spec
    given = {key: v for key, field in ExportSpec.model_fields.items() if (v := getattr(spec, key)) != field.default}
    if use_catalog and isinstance(spec.model, str) and (entry := find_entry(spec.model)) is not None:
        own = {key: value for key, value in given.items() if key != "model"}
        given = {"name": spec.model, "model": spec.model, **entry, **own}
    model = given["model"]
    known = _find_family(model).fields(model)
    if given.get("inputs"):
        known = {key: value for key, value in known.items() if key not in _INPUT_FIELDS}
    filled = {**known, **given, "model": known.get("model", model)}
    if "weights" not in filled:
        raise SpecError(f"{model} needs --weights, one of: {WEIGHTS_CHOICES}.")
    return _with_absolute_paths(_made(ResolvedSpec, filled))


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
            raise _unknown(model) from None
        shown = model.__name__ if isinstance(model, type) else type(model).__name__
        raise SpecError(
            f"A model is text or an nn.Module, and {shown} is neither; give an instance of the class."
        ) from None


def _with_absolute_paths(spec: ResolvedSpec) -> ResolvedSpec:
    sample = spec.sample.expanduser().absolute() if spec.sample else None
    return spec.model_copy(update={"sample": sample, "weights": source_of(spec).settled()})


def known_family(spec: ResolvedSpec) -> Family:
    """Find the family of a spec's model, and see that it lists the model; this may import its library.

    Raises:
        SpecError: it does not; with the closest names.
    """
    family = family_of(spec.model)
    if (names := family.names()) and spec.model not in names:
        raise _unknown(spec.model, names, family.name)
    return family


def _unknown(model: str, names: Sequence[str] = (), family: str = "torchvision") -> SpecError:
    """Make the error for a name that is neither in the catalog nor among the family's."""
    close = difflib.get_close_matches(model, {*read_catalog(), *names}, n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "see deployments/catalog.yaml and torchvision.models."
    return SpecError(
        f"{model!r} is no catalog entry and no {family} model, and an import path looks like "
        f"package.module:Class or path/to/file.py:Class; {hint}"
    )
