"""Mutated copies of a file, one after another."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from tests.mutations import (
    attributes,
    dims,
    layer_weights,
    layers,
    outputs,
    precision,
    preprocessing,
    sparse,
    weights,
    wiring,
)
from tests.mutations.places import Mutation
from tests.mutations.sites import Site, name_of

MUTATIONS: tuple[Mutation, ...] = (
    *weights.MUTATIONS,
    *layer_weights.MUTATIONS,
    *layers.MUTATIONS,
    *attributes.MUTATIONS,
    *wiring.MUTATIONS,
    *precision.MUTATIONS,
    *outputs.MUTATIONS,
    *dims.MUTATIONS,
    *preprocessing.MUTATIONS,
    *sparse.MUTATIONS,
)
"""The number of each seeds its choice of places."""


@dataclass(frozen=True)
class Mutant:
    """A mutated copy of a file, and the truth about it."""

    name: str
    """`mutation@node`."""
    mutation: str
    family: str
    path: Path
    nodes: tuple[str, ...]
    """Names in the mutated file of the nodes to blame: those changed or put in, and who takes what was changed."""
    parameter: str
    """Name of the initializer that was changed; empty: none was."""
    is_single_node: bool
    """One node, or one node's weights: its place can be named."""
    is_declaration: bool
    """Only what the file declares was changed, not what it computes: it always counts."""


def mutate(
    path: Path,
    folder: Path,
    *,
    seed: int = 0,
    num_places: int = 2,
    family: str = "",
    runs: Callable[[Path], bool] = lambda _: True,
) -> Iterator[Mutant]:
    """Write mutated copies of a file, each mutation at a few places of the graph.

    Args:
        path: the file to copy.
        folder: where the copies go; the caller deletes them.
        seed: decides on the places.
        num_places: a mutation; the first one lies in the first half of those there are.
        family: only mutations of this one; empty: all.
        runs: is asked whether ONNX Runtime takes the copy as it took the file; what it refuses is no mutant.
    """
    clean = ir.load(path)
    for number, mutation in enumerate(MUTATIONS):
        num_left = 0 if family and mutation.family != family else num_places
        for index in _spread(len(mutation.places(clean)), np.random.default_rng([seed, number])):
            if not num_left:
                break
            mutant = _apply(mutation, path, folder, index, seed)
            if mutant is not None and (mutation.is_declaration or runs(mutant.path)):
                num_left -= 1
                yield mutant
            elif mutant is not None:
                mutant.path.unlink()


def _apply(mutation: Mutation, path: Path, folder: Path, index: int, seed: int) -> Mutant | None:
    model = ir.load(path)
    place = mutation.places(model)[index]
    name = f"{mutation.name}@{name_of(place) if isinstance(place, ir.Node) else place.name}"
    site = Site(model, place, np.random.default_rng([seed, index]))
    if not mutation.change(site):
        return None
    target = folder / f"{mutation.name}-{index}.onnx"
    ir.save(model, target)
    nodes = tuple(dict.fromkeys(site.touched))
    is_single = mutation.is_single_node and not mutation.is_declaration and not (site.parameter and len(nodes) > 1)
    return Mutant(
        name, mutation.name, mutation.family, target, nodes, site.parameter, is_single, mutation.is_declaration
    )


def _spread(num_places: int, generator: np.random.Generator) -> list[int]:
    """All places in a random order that alternates between the halves of the graph, cut where trying gets long."""
    early, late = (generator.permutation(half) for half in np.array_split(np.arange(num_places), 2))
    order = [int(i) for pair in zip(early, late, strict=False) for i in pair]
    return [*order, *(int(i) for i in early[len(late) :])][:12]
