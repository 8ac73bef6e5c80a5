"""The mutation score as Markdown."""

from collections.abc import Callable, Sequence
from typing import Any

from tests.benchmarks.mutation_peers import PEERS
from tests.benchmarks.mutation_trials import ASSAY, Alarms, Outcome
from tests.mutations import MUTATIONS


def table(outcomes: Sequence[Outcome], alarms: Alarms, command: str) -> str:
    """The result as Markdown."""
    counted = [o for o in outcomes if not o.is_equivalent]
    models = list(dict.fromkeys(o.model for o in outcomes))
    lines = [
        "# Mutation score",
        "",
        f"`{command}`: {len(outcomes)} mutants by {len({o.mutant.mutation for o in outcomes})} of "
        f"{len(MUTATIONS)} mutations in {len(models)} models ({', '.join(models)}); "
        f"{len(outcomes) - len(counted)} are equivalent on the probes in float64 and do not count.",
        "",
        "| who | caught | counted | score | false alarms |",
        "|---|---|---|---|---|",
    ]
    for who in (ASSAY, *PEERS):
        caught = sum(who in o.caught_by for o in counted)
        refused = f"{len(alarms.refused.get(who, []))} of {alarms.num_runs.get(who, 0)}"
        lines.append(f"| {who} | {caught} | {len(counted)} | {_percent(caught, len(counted))} | {refused} |")
    lines += ["", *_by_family(counted), "", *_localisation(outcomes), ""]
    survivors = [o for o in counted if ASSAY not in o.caught_by]
    lines += _named("Survivors", [o for o in survivors if o.verdict == "pass"], figures)
    lines += _named("Inconclusive", [o for o in survivors if o.verdict != "pass"], figures)
    lines += _named("Equivalent", [o for o in outcomes if o.is_equivalent], lambda o: f"{o.difference:.1e}")
    lines += _named("False alarms", alarms.refused.get(ASSAY, []), lambda _: "")
    return "\n".join(lines)


def _by_family(counted: Sequence[Outcome]) -> list[str]:
    families = list(dict.fromkeys(mutation.family for mutation in MUTATIONS))
    lines = [f"| who | {' | '.join(families)} |", f"|---|{'---|' * len(families)}"]
    for who in (ASSAY, *PEERS):
        cells = []
        for family in families:
            mine = [o for o in counted if o.mutant.family == family]
            cells.append(f"{sum(who in o.caught_by for o in mine)} of {len(mine)}")
        lines.append(f"| {who} | {' | '.join(cells)} |")
    return lines


def _localisation(outcomes: Sequence[Outcome]) -> list[str]:
    placed = [o for o in outcomes if ASSAY in o.caught_by and o.mutant.is_single_node]
    pathed = [o for o in placed if o.is_path_right is not None]
    right, right_path = sum(o.is_node_right for o in placed), sum(bool(o.is_path_right) for o in pathed)
    lines = [
        f"Of {len(placed)} single-node mutants that failed, the blame names the node, or who takes what was changed, "
        f"in {right} ({_percent(right, len(placed))}); of {len(pathed)} whose file says the module, its path in "
        f"{right_path} ({_percent(right_path, len(pathed))})."
    ]
    if any(o.blamed for o in placed):
        wrong = [o for o in placed if not (o.is_node_right and o.is_path_right is not False)]
        lines += ["", *_named("Blamed elsewhere", wrong, lambda o: o.blamed or "nothing was blamed")]
    return lines


def _named(title: str, items: Sequence[Any], say: Callable[[Any], str]) -> list[str]:
    if not items:
        return [f"{title}: none.", ""]
    return [
        f"{title}: {len(items)}",
        "",
        *(f"- {item}{f': {text}' if (text := say(item)) else ''}" for item in items),
        "",
    ]


def figures(outcome: Outcome) -> str:
    """How far off a mutant is that was not caught."""
    said = [outcome.reason] if outcome.reason else []
    if (worst := outcome.worst) is not None:
        said.append(
            f"relative error {worst.relative_error:.1e}, PyTorch's own {worst.torch_relative_error:.1e}: "
            f"noise ratio {worst.noise_ratio:.3g}, of a slice {worst.slice_ratio:.3g} ({worst.family})"
        )
    return "; ".join([*said, f"a slice changes by {outcome.difference:.1e} in float64"])


def _percent(part: int, whole: int) -> str:
    # rounded down: 98.999 % is not 99 %
    return f"{part * 10_000 // whole / 100:.2f} %" if whole else "-"
