"""Files that are right at the traced sizes only."""

import numpy as np
import onnx_ir as ir

from tasks.core.arrays import Array
from tasks.core.inputs.probes import BATCH_SIZES
from tests.mutations.places import Mutations, all_inputs, float_nodes, float_outputs
from tests.mutations.sites import Site

MUTATIONS = Mutations()


@MUTATIONS.enter("dims", all_inputs, is_declaration=True)
def dynamic_dims_declared_fixed(site: Site) -> bool:
    """The traced sizes, declared."""
    if site.value.shape is None or all(isinstance(dim, int) for dim in site.value.shape):
        return False
    site.value.shape = ir.Shape([dim if isinstance(dim, int) else BATCH_SIZES[0] for dim in site.value.shape])
    return True


@MUTATIONS.enter("dims", float_nodes)
def batch_frozen_by_a_reshape(site: Site) -> bool:
    """The traced batch, as a Python number in forward."""
    value = site.node.outputs[0]
    dims = list(value.shape) if value.shape is not None else []
    if not dims or isinstance(dims[0], int) or not all(isinstance(dim, int) for dim in dims[1:]):
        return False
    shape = np.array([BATCH_SIZES[0], *dims[1:]], dtype=np.int64)
    return site.route(value, ("Reshape", (shape,), {}))


@MUTATIONS.enter("dims", float_outputs)
def rows_beyond_the_traced_ones_zeroed(site: Site) -> bool:
    """A table made at the traced batch: right there, wrong beyond."""
    if site.value.shape is None or len(site.value.shape) == 0 or isinstance(site.value.shape[0], int):
        return False
    num_rows, num_axes = BATCH_SIZES[0], len(site.value.shape)
    keep = np.array([1.0] * num_rows + [0.0] * 64, dtype=np.float32)
    return _masked(site, keep.reshape(-1, *[1] * (num_axes - 1)))


def _masked(site: Site, keep: Array) -> bool:
    """Multiply an output by the first rows of a table."""
    graph = site.model.graph
    rows = ir.node("Shape", [site.value], {"start": 0, "end": 1})
    start = site.add(np.array([0], dtype=np.int64))
    table = ir.node("Slice", [site.add(keep), start, rows.outputs[0]])
    for number, node in enumerate((rows, table)):
        node.name, node.outputs[0].name = f"mutation_mask_{number}", f"mutation_mask_value_{number}"
    producer = site.value.producer()
    if producer is None or not site.route(site.value, ("Mul", (np.asarray(1, dtype=np.float32),), {})):
        return False
    graph.insert_after(producer, [rows, table])
    last = next(node for node in graph if node.name == "mutation_node_0")
    last.replace_input_with(1, table.outputs[0])
    return site.touch(rows, table)
