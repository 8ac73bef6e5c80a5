"""Outputs that are exchanged, constant, scaled, or in another order."""

import numpy as np

from tests.mutations.places import Mutations, all_outputs, float_outputs
from tests.mutations.sites import Site, reverse_axis

MUTATIONS = Mutations()


@MUTATIONS.enter("outputs", all_outputs, is_single_node=False)
def outputs_swapped(site: Site) -> bool:
    """Two outputs under each other's name."""
    outputs = site.model.graph.outputs
    mine = list(outputs).index(site.value)
    for index, other in enumerate(outputs):
        if index != mine and other.dtype == site.value.dtype and other.shape == site.value.shape:
            outputs[mine], outputs[index] = other, site.value
            site.value.name, other.name = other.name, site.value.name
            return site.touch(*(p for v in (site.value, other) if (p := v.producer()) is not None))
    return False


@MUTATIONS.enter("outputs", float_outputs)
def output_made_constant(site: Site) -> bool:
    """The right shape, and one number everywhere."""
    zero, one = np.asarray(0, dtype=np.float32), np.asarray(0.5, dtype=np.float32)
    return site.route(site.value, ("Mul", (zero,), {}), ("Add", (one,), {}))


@MUTATIONS.enter("outputs", float_outputs)
def output_scaled_by_a_thousandth(site: Site) -> bool:
    """1.001 times the output."""
    return site.route(site.value, ("Mul", (np.asarray(1.001, dtype=np.float32),), {}))


@MUTATIONS.enter("outputs", float_outputs)
def output_activated(site: Site) -> bool:
    """A sigmoid that the model leaves to the caller."""
    return site.route(site.value, ("Sigmoid", (), {}))


@MUTATIONS.enter("outputs", float_outputs)
def rows_reversed(site: Site) -> bool:
    """The batch in another order."""
    return reverse_axis(site, site.value, axis=0)
