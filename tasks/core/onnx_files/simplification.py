"""Simplify a traced graph with ONNX IR's own passes."""

import onnx_ir as ir
from onnx_ir.passes.common import (
    CommonSubexpressionEliminationPass,
    IdentityEliminationPass,
    RemoveUnusedNodesPass,
)


class OwnBodyOutputsPass(ir.passes.InPlacePass):
    """Let the body of each loop and branch produce its outputs itself, by an Identity where it does not.

    Without its Identity a body returns a value of the graph around it, which ONNX does not allow and which the
    elimination of common subexpressions does not expect: MViT's loops from `tensor_split` failed.
    """

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Change bodies in place."""
        modified = False
        for body in model.graph.subgraphs():
            for index, value in enumerate(body.outputs):
                producer = value.producer()
                if producer is not None and producer.graph is body:
                    continue
                own = ir.Value(name=f"{value.name}_{body.name}_{index}", type=value.type, shape=value.shape)
                body.append(ir.node("Identity", inputs=[value], outputs=[own]))
                body.outputs[index] = own
                modified = True
        return ir.passes.PassResult(model, modified)


SIMPLIFY = ir.passes.Sequential(
    IdentityEliminationPass(),
    OwnBodyOutputsPass(),
    CommonSubexpressionEliminationPass(),
    RemoveUnusedNodesPass(),
)
"""Removes, in place, nodes that do nothing, are there twice, or are not used."""
