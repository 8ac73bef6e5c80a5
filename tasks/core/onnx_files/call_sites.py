"""The functions of an ONNX model, and what their inputs and attributes are where they are called."""

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

_UNCHANGED = ("Cast", "Identity")
"""Operators whose output is true where their input is."""


class CallSites:
    """The nodes that a model runs, with the constants that reach them through outer graphs and calls of functions."""

    def __init__(self, model: ir.Model) -> None:
        self._functions = model.functions
        self._calls: dict[ir.OperatorIdentifier, list[ir.Node]] = defaultdict(list)
        parts: tuple[ir.Graph | ir.Function, ...] = (model.graph, *model.functions.values())
        for part in parts:
            for node in part.all_nodes():
                if node.op_identifier() in model.functions:
                    self._calls[node.op_identifier()].append(node)
        called = [function for key, function in model.functions.items() if key in self._calls]
        self._around = {node: function for function in called for node in function.all_nodes()}
        self._inputs = {value: (f.identifier(), i) for f in called for i, value in enumerate(f.inputs)}
        nodes = (*model.graph.all_nodes(), *self._around)
        self.nodes = [node for node in nodes if node.op_identifier() not in model.functions]
        """Operators in the main graph, in called functions, and in the bodies of loops and branches of both."""

    def attributes(self, node: ir.Node, name: str) -> Iterator[ir.Attr]:
        """The values that an attribute has, one per call where it is an attribute of the function around the node.

        Args:
            node: of the model.
            name: of one of its attributes; where the node leaves it out there is no value.
        """
        waiting, seen = [(node, name)], set[tuple[ir.Node, str]]()
        while waiting:
            node, name = waiting.pop()
            if (node, name) in seen:  # functions that call each other are invalid, but may be in a file
                continue
            seen.add((node, name))
            function = self._functions.get(node.op_identifier())
            attribute = node.attributes.get(name) or (function.attributes.get(name) if function else None)
            if attribute is not None and attribute.is_ref() and node in self._around:
                calls = self._calls[self._around[node].identifier()]
                waiting += [(call, str(attribute.ref_attr_name)) for call in calls]
            elif attribute is not None and attribute.value is not None:
                yield attribute

    def may_be_true(self, value: ir.Value) -> bool:
        """Is a value true at some call, or not known before the model runs?"""
        waiting: list[ir.Value | None] = [value]
        seen = set[ir.Value | None]([None])
        while waiting:
            if (found := waiting.pop()) in seen or found is None:
                continue
            seen.add(found)
            node = found.producer()
            if found.const_value is not None:
                if np.any(found.const_value.numpy()):
                    return True
            elif node is not None and node.op_type == "Constant":
                if any(_is_true(a) for name in node.attributes for a in self.attributes(node, name)):
                    return True
            elif node is not None and node.op_type in _UNCHANGED:
                waiting.append(node.inputs[0])
            elif found in self._inputs:
                key, index = self._inputs[found]
                waiting += [call.inputs[index] for call in self._calls[key] if index < len(call.inputs)]
            else:
                return True
        return False


def _is_true(attribute: ir.Attr) -> bool:
    is_tensor = attribute.type == ir.AttributeType.TENSOR
    return bool(np.any(attribute.as_tensor().numpy() if is_tensor else np.asarray(attribute.value)))
