"""`--list`: the models that can be exported by name, and whether their weights are here. Needs no PyTorch."""

import fnmatch
from collections.abc import Iterator, Sequence

from rich.markup import escape

from tasks.core.errors import SpecError, WeightsError
from tasks.core.families.family import Family
from tasks.core.families.registry import FAMILIES, family_of
from tasks.core.spec.catalog import read_catalog
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.spec.resolve import check_files, make_spec, resolve, unknown_name
from tasks.core.weights.sources import weights_kind

_HERE, _ONLINE, _YOURS = "here", "[dim]online[/]", "[dim]yours[/]"
"""Where weights are: on this machine, to be fetched, or to be given with `--weights`."""
_MISSING, _NONE = "[yellow]missing[/]", "[dim]none[/]"
"""They are not at the place that the catalog names; or there are none."""
_MANY = 1000
"""Names of a family that are listed only if asked for."""


def model_lines(glob: str) -> Iterator[str]:
    """Lines of the table, with the markup of rich; a SpecError if no name fits.

    Args:
        glob: of names, e.g. `resnet*`.
    """
    many = [family for family in FAMILIES if glob == "*" and len(family.names()) > _MANY]
    rows = [row for row in _rows(without=many) if fnmatch.fnmatchcase(row[0], glob)]
    if not rows:
        raise unknown_name(glob, [name for family in FAMILIES for name in family.names()])
    width = max(len(name) for name, _, _ in rows)
    yield f"[bold]{'MODEL':<{width}}  {'FAMILY':<11}  WEIGHTS[/]"
    for name, where, weights in rows:
        yield f"{escape(name):<{width}}  [dim]{where:<11}[/]  {weights}"
    others = [family.syntax for family in FAMILIES if not family.names()]
    if glob == "*":
        for family in many:
            yield f"[dim]and {len(family.names()):,} of {family.name}: --list '{family.syntax.partition(':')[0]}:*'[/]"
        yield f"[dim]and any {escape(', or '.join(others))}[/]"


def _rows(*, without: Sequence[Family]) -> Iterator[tuple[str, str, str]]:
    """Name, where it is known, and what is to be said of its weights; of the catalog first."""
    for name in read_catalog():
        yield name, "catalog", _weights_of(resolve(make_spec(model=name), pins=False))
    for family in (family for family in FAMILIES if family not in without):
        for name in family.names():
            yield name, family.name, _weights_of_family(family, name)


def _weights_of_family(family: Family, name: str) -> str:
    if family.has_weights_here(name):
        return _HERE
    return _ONLINE if family.has_weights(name) else _YOURS


def _weights_of(spec: ResolvedSpec) -> str:
    kind, family = weights_kind(spec), family_of(spec.model)
    if kind in ("random", "as-built"):
        return _NONE
    if kind == family.name:
        return _weights_of_family(family, spec.model)
    try:
        check_files(spec)
    except (SpecError, WeightsError):
        return _MISSING
    return _HERE if kind == "file" else _ONLINE
