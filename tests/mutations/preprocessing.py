"""Inputs that are scaled, shifted or turned before the model sees them."""

import numpy as np

from tests.mutations.places import Mutations, float_inputs, integer_inputs
from tests.mutations.sites import Site, reverse_axis

MUTATIONS = Mutations()


@MUTATIONS.enter("preprocessing", float_inputs)
def input_scaled_by_1_percent(site: Site) -> bool:
    """A standard deviation that is slightly off."""
    return site.route(site.value, ("Mul", (np.asarray(1.01, dtype=np.float32),), {}))


@MUTATIONS.enter("preprocessing", float_inputs)
def input_shifted_by_a_hundredth(site: Site) -> bool:
    """A mean that is slightly off."""
    return site.route(site.value, ("Sub", (np.asarray(0.01, dtype=np.float32),), {}))


@MUTATIONS.enter("preprocessing", float_inputs)
def one_channel_normalised_otherwise(site: Site) -> bool:
    """0.485 / 0.229 for 0.485 / 0.225: the constants of another channel."""
    shape = site.value.shape
    if shape is None or len(shape) != 4 or not isinstance(shape[1], int):
        return False
    factor = np.ones((1, shape[1], 1, 1), dtype=np.float32)
    factor[0, -1] = 0.229 / 0.225
    return site.route(site.value, ("Mul", (factor,), {}))


@MUTATIONS.enter("preprocessing", float_inputs)
def channels_reversed(site: Site) -> bool:
    """BGR for RGB."""
    shape = site.value.shape
    return shape is not None and len(shape) == 4 and shape[1] == 3 and reverse_axis(site, site.value, axis=1)


@MUTATIONS.enter("preprocessing", float_inputs)
def mirrored(site: Site) -> bool:
    """Right for left."""
    shape = site.value.shape
    return shape is not None and len(shape) == 4 and reverse_axis(site, site.value, axis=3)


@MUTATIONS.enter("preprocessing", float_inputs)
def input_in_256_steps(site: Site) -> bool:
    """Pixels that were rounded to a byte."""
    step = np.asarray(1 / 64, dtype=np.float32)
    return site.route(site.value, ("Div", (step,), {}), ("Round", (), {}), ("Mul", (step,), {}))


@MUTATIONS.enter("preprocessing", integer_inputs)
def ids_off_by_one(site: Site) -> bool:
    """A vocabulary with or without its padding token."""
    zero, one = np.asarray(0, dtype=np.int64), np.asarray(1, dtype=np.int64)
    return site.route(site.value, ("Sub", (one,), {}), ("Max", (zero,), {}))
