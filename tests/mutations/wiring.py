"""Nodes that are fed from the wrong place."""

import onnx_ir as ir

from tests.mutations.places import Mutations, nodes_of
from tests.mutations.sites import Site, constant_of

MUTATIONS = Mutations()


@MUTATIONS.enter("wiring", nodes_of("Add"))
def sum_made_difference(site: Site) -> bool:
    """The sign of a sum."""
    site.node.op_type = "Sub"
    return site.touch()


@MUTATIONS.enter("wiring", nodes_of("Add"))
def residual_dropped(site: Site) -> bool:
    """The sum is one of its parts."""
    if any(value is None or constant_of(value) is not None for value in site.node.inputs):
        return False
    return site.become("Identity", 1)


@MUTATIONS.enter("wiring", nodes_of("Add", "Mul"))
def one_operand_twice(site: Site) -> bool:
    """Both inputs of a sum or product are the first."""
    first, second = site.node.inputs[:2]
    if (
        first is None
        or second is None
        or first is second
        or constant_of(first) is not None
        or constant_of(second) is not None
    ):
        return False
    site.node.replace_input_with(1, first)
    return site.touch()


@MUTATIONS.enter("wiring", nodes_of("Sub", "Div", "Where", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"))
def operands_swapped(site: Site) -> bool:
    """The two sides of a difference, quotient, choice or comparison."""
    at = len(site.node.inputs) - 2
    first, second = site.node.inputs[at : at + 2]
    site.node.replace_input_with(at, second)
    site.node.replace_input_with(at + 1, first)
    return site.touch()


@MUTATIONS.enter("wiring", nodes_of("Concat"))
def concatenated_in_another_order(site: Site) -> bool:
    """The last part first."""
    if site.node.outputs[0].dtype not in (ir.DataType.FLOAT, None):
        return False  # a shape
    first, *middle, last = site.node.inputs
    for index, value in enumerate([last, *middle, first]):
        site.node.replace_input_with(index, value)
    return first is not last and site.touch()


@MUTATIONS.enter("wiring", nodes_of("Reshape", "Flatten"))
def reshape_mixes_axes(site: Site) -> bool:
    """Channels last before a reshape that expects them first."""
    value = site.node.inputs[0]
    if value is None or value.shape is None or len(value.shape) < 3 or value.producer() is None:
        return False
    perm = [*range(len(value.shape))]
    perm[-1], perm[-2] = perm[-2], perm[-1]
    step = ir.node("Transpose", [value], {"perm": perm})
    step.name, step.outputs[0].name = "mutation_node", "mutation_value"
    site.model.graph.insert_before(site.node, step)
    site.node.replace_input_with(0, step.outputs[0])
    return site.touch(step, site.node, value.producer())  # type: ignore[arg-type]  # it has one


@MUTATIONS.enter("wiring", nodes_of("Split"), is_single_node=False)
def parts_exchanged(site: Site) -> bool:
    """Queries for keys: two equal parts of a split under each other's name."""
    if len(site.node.outputs) < 2:
        return False
    first, second = site.node.outputs[:2]
    uses = {value: list(value.uses()) for value in (first, second)}
    for value, other in ((first, second), (second, first)):
        for user, index in uses[value]:
            user.replace_input_with(index, other)
    return site.touch(site.node, *(user for found in uses.values() for user, _ in found))


@MUTATIONS.enter("wiring", nodes_of("Relu", "Clip", "Conv", "MatMul", "Gemm"))
def fed_from_one_layer_before(site: Site) -> bool:
    """A layer skipped: its taker gets what went into it."""
    out, into = site.node.outputs[0], site.node.inputs[0]
    users = list(out.uses())
    if not users or into is None or out.is_graph_output():
        return False
    user, index = users[0]
    user.replace_input_with(index, into)
    return site.touch(site.node, user)
