"""Weights of convolutions and matrix products that are not the module's: off, rounded, exchanged."""

import numpy as np

from tasks.core.arrays import Array
from tests.mutations.places import Mutations, last_weighted, nodes_of, weighted
from tests.mutations.sites import Site, swapped

MUTATIONS = Mutations()


@MUTATIONS.enter("weights", weighted)
def weights_scaled_by_1_percent(site: Site) -> bool:
    """A scale that was folded in twice."""
    return site.reweigh(lambda w: w * 1.01)


@MUTATIONS.enter("weights", weighted)
def weights_scaled_by_a_thousandth(site: Site) -> bool:
    """A normalisation that was folded in with another epsilon."""
    return site.reweigh(lambda w: w * 1.001)


@MUTATIONS.enter("weights", weighted)
def one_channel_zeroed(site: Site) -> bool:
    """A pruned channel."""
    axis = _channel_axis(site)

    def change(w: Array) -> Array:
        np.moveaxis(w, axis, 0)[site.generator.integers(w.shape[axis])] = 0
        return w

    return site.reweigh(change)


@MUTATIONS.enter("weights", weighted)
def largest_weight_negated(site: Site) -> bool:
    """One sign bit."""

    def change(w: Array) -> Array:
        w.flat[np.abs(w).argmax()] *= -1
        return w

    return site.reweigh(change)


@MUTATIONS.enter("weights", weighted)
def one_weight_off_by_10_percent(site: Site) -> bool:
    """One element of a layer."""

    def change(w: Array) -> Array:
        large = np.flatnonzero(np.abs(w.ravel()) >= np.median(np.abs(w)))
        w.flat[site.generator.choice(large)] *= 1.1
        return w

    return site.reweigh(change)


@MUTATIONS.enter("precision", weighted)
def weights_rounded_to_float16(site: Site) -> bool:
    """A checkpoint that went through half precision."""
    return site.reweigh(lambda w: w.astype(np.float16).astype(np.float32))


@MUTATIONS.enter("precision", weighted)
def weights_rounded_to_bfloat16(site: Site) -> bool:
    """A checkpoint that went through bfloat16."""
    return site.reweigh(lambda w: ((w.view(np.uint32) + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32))


@MUTATIONS.enter("precision", weighted)
def weights_rounded_to_int8(site: Site) -> bool:
    """A quantised layer."""

    def change(w: Array) -> Array:
        step = np.abs(w).max() / 127
        return np.round(w / step) * step if step else w

    return site.reweigh(change)


@MUTATIONS.enter("weights", nodes_of("Conv", "ConvTranspose", "Gemm"))
def bias_zeroed(site: Site) -> bool:
    """A bias that the exporter dropped."""
    return site.reweigh(np.zeros_like, index=2)


@MUTATIONS.enter("weights", nodes_of("Conv", "ConvTranspose", "Gemm"))
def bias_shifted(site: Site) -> bool:
    """A bias off by a hundredth of its spread, up and down, as a norm that follows takes an equal shift away."""

    def change(b: Array) -> Array:
        step = 0.01 * np.sqrt(np.mean(b**2))
        return b + np.where(np.arange(b.size) % 2, step, -step).reshape(b.shape)

    return site.reweigh(change, index=2)


@MUTATIONS.enter("weights", weighted)
def two_channels_swapped(site: Site) -> bool:
    """Output channels in another order."""
    axis = _channel_axis(site)

    def change(w: Array) -> Array:
        if w.shape[axis] < 2:
            return w
        first, second = site.generator.choice(w.shape[axis], 2, replace=False)
        return swapped(w, axis, first, second)

    return site.reweigh(change)


@MUTATIONS.enter("weights", last_weighted)
def first_two_classes_swapped(site: Site) -> bool:
    """A label file in another order: weights and bias of two classes change places."""
    axis = _channel_axis(site)
    found = site.weight()
    if found is None or found[1].shape[axis] < 2:
        return False
    if site.constant(2) is not None and site.node.op_type != "MatMul":
        site.reweigh(lambda b: swapped(b, -1, 0, 1) if b.shape[-1] > 1 else b, index=2)
    return site.reweigh(lambda w: swapped(w, axis, 0, 1))


@MUTATIONS.enter("weights", nodes_of("Conv", "ConvTranspose"))
def kernel_transposed(site: Site) -> bool:
    """Height for width."""
    return site.reweigh(lambda w: np.swapaxes(w, -1, -2) if w.ndim == 4 else w)


@MUTATIONS.enter("weights", nodes_of("Conv", "ConvTranspose"))
def kernel_flipped(site: Site) -> bool:
    """Convolution for correlation."""
    return site.reweigh(lambda w: w[..., ::-1])


@MUTATIONS.enter("weights", weighted, is_single_node=False)
def weights_of_two_layers_exchanged(site: Site) -> bool:
    """Two keys of a checkpoint that were mistaken for each other."""
    mine = site.weight()
    if mine is None:
        return False
    others = [Site(site.model, node, site.generator) for node in weighted(site.model) if node is not site.node]
    pairs = ((other, theirs[1]) for other in others if (theirs := other.weight()) is not None)
    other, theirs = next(((o, w) for o, w in pairs if w.shape == mine[1].shape), (None, mine[1]))
    if other is None or not (other.reweigh(lambda _: mine[1]) and site.reweigh(lambda _: theirs)):
        return False
    site.touched += other.touched
    return True


def _channel_axis(site: Site) -> int:
    """Which axis of the node's weights counts its output channels."""
    op_type = site.node.op_type
    if op_type == "Gemm":
        return 0 if site.attribute("transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(op_type, -1)
