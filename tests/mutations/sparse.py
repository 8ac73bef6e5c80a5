"""Mutations that most inputs do not show: one row, one element, one channel, one side of a branch, large sizes only."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from tasks.core.arrays import Array, rms
from tests.mutations.places import WEIGHTED, Mutations, nodes_of, weighted
from tests.mutations.sites import Place, Site, constant_of

MUTATIONS = Mutations()
_MOST_ROWS = 64
"""Of a table of positions: lengths up to this are run."""


def _tables(model: ir.Model) -> Sequence[Place]:
    """Nodes that look up rows of a table of floats."""
    return [node for node in nodes_of("Gather")(model) if _is_table(node.inputs[0])]


def _large_weights(model: ir.Model) -> Sequence[Place]:
    """The node with the most weights."""
    sizes = {node: found[1].size for node in weighted(model) if (found := _site(model, node).weight())}
    return [max(sizes, key=lambda node: sizes[node])] if sizes else []


def _in_branches(model: ir.Model) -> Sequence[Place]:
    """Nodes with weights inside the sides of an If."""
    inside = (node for node in model.graph.all_nodes() if node.graph is not model.graph)
    return [node for node in inside if node.op_type in WEIGHTED and _site(model, node).weight()]


def _long_inputs(model: ir.Model) -> Sequence[Place]:
    """The first input, where the size of its second axis is not fixed and something has a row for each position."""
    first = model.graph.inputs[0]
    is_long = first.shape is not None and len(first.shape) > 1 and not isinstance(first.shape[1], int)
    return [first] if is_long and _num_positions(model) else []


def _batches(model: ir.Model) -> Sequence[Place]:
    """The first input, where its batch is not fixed."""
    first = model.graph.inputs[0]
    return [first] if first.shape and not isinstance(first.shape[0], int) else []


@MUTATIONS.enter("sparse", _tables)
def one_row_of_a_table_off(site: Site) -> bool:
    """A word of the vocabulary that was trained further."""

    def change(w: Array) -> Array:
        w[site.generator.integers(len(w))] += 1.0
        return w

    return site.reweigh(change, index=0)


@MUTATIONS.enter("sparse", _tables)
def last_row_of_a_table_off(site: Site) -> bool:
    """A position beyond the lengths that are tried, or the last word."""

    def change(w: Array) -> Array:
        w[-1] += 1.0
        return w

    return site.reweigh(change, index=0)


@MUTATIONS.enter("sparse", nodes_of("Add", "Sub", "Where"))
def one_entry_of_what_is_added_off(site: Site) -> bool:
    """A table of relative positions, of which one offset has another value."""
    held = [(i, c) for i in range(len(site.node.inputs)) if (c := site.constant(i)) is not None and c.ndim >= 3]
    return bool(held) and site.reweigh(lambda w: _off(w, site, by=1.0), index=held[0][0])


@MUTATIONS.enter("sparse", _large_weights)
def one_element_of_a_large_weight_off(site: Site) -> bool:
    """A flipped bit of the mantissa."""
    return site.reweigh(lambda w: _off(w, site, by=0.25))


@MUTATIONS.enter("sparse", weighted)
def one_element_off_by_a_hundredth(site: Site) -> bool:
    """Any element, by a hundredth of what is usual among them."""
    return site.reweigh(lambda w: _off(w, site, by=0.01))


@MUTATIONS.enter("sparse", nodes_of("Conv", "ConvTranspose", "Gemm"))
def one_bias_off(site: Site) -> bool:
    """A channel of a bias."""
    return site.reweigh(lambda b: _off(b, site, by=0.1), index=2)


@MUTATIONS.enter("sparse", nodes_of("BatchNormalization"))
def running_variance_of_one_channel_off(site: Site) -> bool:
    """By 1 %."""

    def change(v: Array) -> Array:
        v[site.generator.integers(len(v))] *= 1.01
        return v

    return site.reweigh(change, index=4)


@MUTATIONS.enter("sparse", nodes_of("Conv"))
def one_channel_folded_with_another_variance(site: Site) -> bool:
    """What a variance off by 1 % makes of the weights into which its normalisation is folded."""

    def change(w: Array) -> Array:
        w[site.generator.integers(len(w))] /= np.sqrt(1.01)
        return w

    return site.reweigh(change, index=1)


@MUTATIONS.enter("sparse", nodes_of("Gemm", "Conv"))
def weights_behind_a_dead_channel_off(site: Site) -> bool:
    """Those that take the channel that the Relu before opens least."""
    relu = site.node.inputs[0].producer() if site.node.inputs[0] is not None else None
    before = relu.inputs[0].producer() if relu is not None and relu.op_type == "Relu" and relu.inputs[0] else None
    if before is None or len(before.inputs) < 3 or before.inputs[2] is None:
        return False
    bias, found = constant_of(before.inputs[2]), site.weight(1)
    if bias is None or found is None:
        return False
    axis = 0 if site.node.op_type == "Gemm" and not site.attribute("transB", 0) else 1
    channel = int(bias.argmin())

    def change(w: Array) -> Array:
        np.moveaxis(w, axis, 0)[channel] += np.float32(rms(w))
        return w

    return found[1].shape[axis] == len(bias) and site.reweigh(change, index=1)


@MUTATIONS.enter("sparse", _in_branches)
def one_element_of_a_branch_off(site: Site) -> bool:
    """A weight that one side of an If takes."""
    return site.reweigh(lambda w: _off(w, site, by=0.25))


@MUTATIONS.enter("sparse", _batches)
def wrong_beyond_16_rows(site: Site) -> bool:
    """A buffer that was made for sixteen rows."""
    return _from_size(site, axis=0, least=17)


@MUTATIONS.enter("sparse", _long_inputs)
def wrong_at_the_bound_of_a_length(site: Site) -> bool:
    """A mask that is one too short."""
    return _from_size(site, axis=1, least=_num_positions(site.model))


def _from_size(site: Site, *, axis: int, least: int) -> bool:
    """Have the first output of floats 1 % larger from a size of an axis on."""
    output = next((v for v in site.model.graph.outputs if v.dtype == ir.DataType.FLOAT), None)
    if output is None:
        return False
    factor = site.value
    for number, (op_type, constants, attributes) in enumerate(
        (
            ("Shape", (), {}),
            ("Gather", (np.array(axis),), {}),
            ("GreaterOrEqual", (np.array(least),), {}),
            ("Cast", (), {"to": int(ir.DataType.FLOAT)}),
            ("Mul", (np.array(0.01, dtype=np.float32),), {}),
            ("Add", (np.array(1, dtype=np.float32),), {}),
        )
    ):
        node = ir.node(op_type, [factor, *map(site.add, constants)], attributes or None, name=f"mutation_size_{number}")
        node.outputs[0].name = f"mutation_size_value_{number}"
        site.model.graph.insert_before(site.model.graph[number], [node])
        factor = node.outputs[0]
    return site.route(output, ("Mul", (factor,), {}))


def _site(model: ir.Model, node: Place) -> Site:
    return Site(model, node, np.random.default_rng())


def _off(array: Array, site: Site, *, by: float) -> Array:
    """One element off, by a share of what is usual."""
    array.flat[site.generator.integers(array.size)] += np.float32(by * (rms(array) or 1.0))
    return array


def _is_table(value: ir.Value | None) -> bool:
    held = None if value is None else constant_of(value)
    return held is not None and held.dtype == np.float32 and held.ndim == 2 and len(held) > 1


def _num_positions(model: ir.Model) -> int:
    """Rows of the smallest table, if it is small; 0: there is none."""
    sizes = [node.inputs[0].const_value.shape[0] for node in _tables(model)]
    return min((size for size in sizes if size <= _MOST_ROWS), default=0)
