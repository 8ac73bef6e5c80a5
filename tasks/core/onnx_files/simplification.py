"""Simplify a traced graph with ONNX IR's own passes."""

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    IdentityEliminationPass,
    RemoveUnusedNodesPass,
)


def simplify(model: ir.Model) -> None:
    """Drop what does nothing, is there twice, or is not used; in place."""
    IdentityEliminationPass()(model)
    _give_back_outputs(model)
    CommonSubexpressionEliminationPass()(model)
    RemoveUnusedNodesPass()(model)


def _give_back_outputs(model: ir.Model) -> None:
    """Let each loop body and branch compute its outputs itself.

    Without its Identity a body gives a value of the graph around it, which ONNX does not allow and which common
    subexpressions stumble over: MViT's loops from `tensor_split` did.
    """
    bodies = [
        attribute.as_graph()
        for node in ir.traversal.RecursiveGraphIterator(model.graph)
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.GRAPH
    ]
    for body in bodies:
        for index, value in enumerate(body.outputs):
            producer = value.producer()
            if producer is not None and producer.graph is body:
                continue
            own = ir.Value(name=f"{value.name}_{body.name}_{index}", type=value.type, shape=value.shape)
            body.append(ir.node("Identity", inputs=[value], outputs=[own]))
            body.outputs[index] = own
