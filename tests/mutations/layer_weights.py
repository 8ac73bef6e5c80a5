"""Weights of norms, embeddings and recurrent layers, and constants, that are not the module's."""

import numpy as np

from tasks.core.arrays import Array
from tests.mutations.places import RECURRENT, Mutations, nodes_of
from tests.mutations.sites import Site, swapped

MUTATIONS = Mutations()


@MUTATIONS.enter("weights", nodes_of("BatchNormalization"))
def running_mean_zeroed(site: Site) -> bool:
    """Batch norm without its statistics."""
    return site.reweigh(np.zeros_like, index=3)


@MUTATIONS.enter("weights", nodes_of("BatchNormalization"))
def running_variance_scaled(site: Site) -> bool:
    """Biased for unbiased variance."""
    return site.reweigh(lambda v: v * 1.01, index=4)


@MUTATIONS.enter(
    "weights", nodes_of("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization")
)
def norm_scale_off_by_1_percent(site: Site) -> bool:
    """The gain of a norm."""
    return site.reweigh(lambda v: v * 1.01, index=1)


@MUTATIONS.enter(
    "weights", nodes_of("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization")
)
def norm_bias_shifted(site: Site) -> bool:
    """The shift of a norm."""
    return site.reweigh(lambda v: v + np.float32(0.01), index=2)


@MUTATIONS.enter("weights", nodes_of("Gather"))
def two_embeddings_swapped(site: Site) -> bool:
    """A vocabulary in another order."""
    return site.reweigh(lambda w: swapped(w, 0, 1, 2) if w.ndim == 2 and len(w) > 2 else w, index=0)


@MUTATIONS.enter("weights", nodes_of("LSTM", "GRU"))
def gates_permuted(site: Site) -> bool:
    """PyTorch's order of gates, ifgo, for ONNX's, iofg."""

    def change(w: Array) -> Array:
        first, second, *rest = np.split(w, 4 if site.node.op_type == "LSTM" else 3, axis=1)
        return np.concatenate([second, first, *rest], axis=1)

    return site.reweigh(change, index=1)


@MUTATIONS.enter("weights", nodes_of(*RECURRENT))
def recurrence_scaled_by_1_percent(site: Site) -> bool:
    """The hidden-to-hidden weights."""
    return site.reweigh(lambda w: w * 1.01, index=2)


@MUTATIONS.enter("weights", nodes_of(*RECURRENT))
def recurrent_bias_zeroed(site: Site) -> bool:
    """Both biases of a recurrent layer."""
    return site.reweigh(np.zeros_like, index=3)


@MUTATIONS.enter("weights", nodes_of("Mul", "Add", "Sub", "Div"))
def constant_off_by_1_percent(site: Site) -> bool:
    """A scale such as attention's, or a table of positions."""
    index = next((i for i in (0, 1) if (c := site.constant(i)) is not None and c.dtype == np.float32), None)
    return index is not None and site.reweigh(lambda c: c * 1.01, index=index)
