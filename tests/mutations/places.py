"""Where in a graph a mutation may go, and the list that mutations are entered in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from tests.mutations.sites import Place, Site

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
RECURRENT = ("LSTM", "GRU", "RNN")
Change = Callable[[Site], bool]
Places = Callable[[ir.Model], Sequence[Place]]


@dataclass(frozen=True)
class Mutation:
    """One way to go wrong."""

    name: str
    family: str
    places: Places
    change: Callable[[Site], bool]
    is_single_node: bool = True
    is_declaration: bool = False


class Mutations(list[Mutation]):
    """Mutations in the order in which they are written down."""

    def enter(self, family: str, places: Places, **options: bool) -> Callable[[Change], Change]:
        """Add a function, under its own name."""

        def add(change: Change) -> Change:
            self.append(Mutation(change.__name__, family, places, change, **options))
            return change

        return add


def nodes_of(*op_types: str) -> Places:
    """Nodes of these operators."""
    return lambda model: [node for node in model.graph if node.op_type in op_types and node.domain in ("", "ai.onnx")]


def weighted(model: ir.Model) -> Sequence[Place]:
    """Nodes that multiply by a matrix of weights."""
    return [n for n in model.graph if n.op_type in WEIGHTED and any(v is not None and _is_matrix(v) for v in n.inputs)]


def last_weighted(model: ir.Model) -> Sequence[Place]:
    """The last of them."""
    return weighted(model)[-1:]


def float_inputs(model: ir.Model) -> Sequence[Place]:
    """Inputs of float32."""
    return [v for v in model.graph.inputs if v.dtype == ir.DataType.FLOAT and not v.is_initializer()]


def integer_inputs(model: ir.Model) -> Sequence[Place]:
    """Inputs of int64 that something takes."""
    return [v for v in model.graph.inputs if v.dtype == ir.DataType.INT64 and not v.is_initializer() and v.uses()]


def float_outputs(model: ir.Model) -> Sequence[Place]:
    """Outputs of float32."""
    return [v for v in model.graph.outputs if v.dtype == ir.DataType.FLOAT]


def all_inputs(model: ir.Model) -> Sequence[Place]:
    """Inputs of any dtype."""
    return [value for value in model.graph.inputs if not value.is_initializer()]


def all_outputs(model: ir.Model) -> Sequence[Place]:
    """Outputs of any dtype."""
    return list(model.graph.outputs)


def float_nodes(model: ir.Model) -> Sequence[Place]:
    """Nodes in whose output something of the input flows as float32."""
    flows = {value for value in model.graph.inputs if not value.is_initializer()}
    found = []
    for node in model.graph:
        if node.op_type not in ("Shape", "Size") and any(value in flows for value in node.inputs):
            flows.update(node.outputs)
            if node.outputs[0].dtype in (ir.DataType.FLOAT, None) and not node.outputs[0].is_graph_output():
                found.append(node)
    return found


def _is_matrix(value: ir.Value) -> bool:
    tensor = ir.convenience.get_const_tensor(value)
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and len(tensor.shape) >= 2
