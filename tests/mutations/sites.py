"""One place of a graph, and what can be done to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from tasks.core.arrays import Array

Place = ir.Node | ir.Value


@dataclass
class Site:
    """One place of a freshly loaded graph, and what a mutation does to it."""

    model: ir.Model
    place: Place
    generator: np.random.Generator
    touched: list[str] = field(default_factory=list)
    parameter: str = ""

    @property
    def node(self) -> ir.Node:
        """The place, where it is a node."""
        assert isinstance(self.place, ir.Node)
        return self.place

    @property
    def value(self) -> ir.Value:
        """The place, where it is an input or output of the graph."""
        assert isinstance(self.place, ir.Value)
        return self.place

    def constant(self, index: int) -> Array | None:
        """What a constant input of the node holds; None: it is none."""
        if index >= len(self.node.inputs) or (value := self.node.inputs[index]) is None:
            return None
        return constant_of(value)

    def weight(self, index: int | None = None) -> tuple[int, Array] | None:
        """Index and values of the node's float weights: the input named, else the first one that is a matrix."""
        indices = range(len(self.node.inputs)) if index is None else (index,)
        for i in indices:
            held = self.constant(i)
            if held is not None and held.dtype == np.float32 and (index is not None or held.ndim >= 2):
                return i, held
        return None

    def reweigh(self, change: Callable[[Array], Array], index: int | None = None) -> bool:
        """Change an initializer in place, for all who take it; False: there is none or nothing changes."""
        found = self.weight(index)
        if found is None:
            return False
        changed = np.ascontiguousarray(change(found[1].copy()), dtype=np.float32)
        if changed.shape != found[1].shape or np.array_equal(changed, found[1]):
            return False
        value = self.node.inputs[found[0]]
        assert value is not None
        if value.is_initializer():
            value.const_value = ir.tensor(changed, name=value.name)
            self.parameter = str(value.name)
            self.touched += [name_of(user) for user, _ in value.uses()]
            return True
        return self.give(found[0], changed)

    def give(self, index: int, array: Array) -> bool:
        """Feed the node alone with another constant."""
        old = self.constant(index)
        if old is not None and old.shape == array.shape and np.array_equal(old, array):
            return False
        self.node.replace_input_with(index, self.add(array))
        return self.touch()

    def add(self, array: Array) -> ir.Value:
        """A new initializer."""
        name = f"mutation_{len(self.model.graph.initializers)}"
        tensor = ir.tensor(np.ascontiguousarray(array) if array.ndim else array, name=name)
        value = ir.Value(name=name, shape=tensor.shape, type=ir.TensorType(tensor.dtype), const_value=tensor)
        self.model.graph.register_initializer(value)
        return value

    def touch(self, *nodes: ir.Node) -> bool:
        """Say which nodes were changed; none: the place itself."""
        self.touched += [name_of(node) for node in nodes or (self.node,)]
        return True

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value."""
        found = self.node.attributes.get(name)
        return default if found is None else found.value

    def change_attribute(self, name: str, value: Any) -> bool:
        """Set an attribute."""
        self.node.attributes.update({a.name: a for a in ir.convenience.convert_attributes({name: value})})
        return self.touch()

    def become(self, op_type: str, num_inputs: int | None = None, **attributes: Any) -> bool:
        """Turn the node into another operator on its first inputs."""
        self.node.op_type = op_type
        self.node.attributes.clear()
        self.node.attributes.update({a.name: a for a in ir.convenience.convert_attributes(attributes)})
        if num_inputs is not None:
            self.node.resize_inputs(num_inputs)
        return self.touch()

    def route(self, value: ir.Value, *steps: tuple[str, Sequence[Array | ir.Value], dict[str, Any]]) -> bool:
        """Lead a value through further nodes: operator, constants or values beside it, attributes.

        A graph's output keeps its name; who takes it inside the graph still gets the old value.
        """
        graph = self.model.graph
        is_output = value.is_graph_output()
        users = [] if is_output else list(value.uses())
        flow, nodes = value, []
        for number, (op_type, constants, attributes) in enumerate(steps):
            others = [other if isinstance(other, ir.Value) else self.add(other) for other in constants]
            step = ir.node(op_type, [flow, *others], attributes or None)
            step.name, step.outputs[0].name = f"mutation_node_{number}", f"mutation_value_{number}"
            flow = step.outputs[0]
            nodes.append(step)
        if (producer := value.producer()) is not None:
            graph.insert_after(producer, nodes)
        else:
            graph.insert_before(graph[0], nodes)
        if is_output:
            flow.shape, flow.type = value.shape, value.type
            value.name, flow.name = f"{value.name}_unmutated", value.name
            graph.outputs[list(graph.outputs).index(value)] = flow
        for user, index in users:
            user.replace_input_with(index, flow)
        return self.touch(*nodes, *(user for user, _ in users), *([producer] if producer is not None else []))


def reverse_axis(site: Site, value: ir.Value, axis: int) -> bool:
    """Put an axis in another order: the last element first."""
    start, end, at, step = (np.array([n], dtype=np.int64) for n in (-1, -(2**62), axis, -1))
    return site.route(value, ("Slice", (start, end, at, step), {}))


def swapped(array: Array, axis: int, first: int, second: int) -> Array:
    """The array with two elements of an axis exchanged."""
    order = np.arange(array.shape[axis])
    order[[first, second]] = order[[second, first]]
    return np.take(array, order, axis=axis)


def constant_of(value: ir.Value) -> Array | None:
    """What a constant holds; None: it is none."""
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None or value.is_graph_input() else np.array(tensor.numpy())


def name_of(node: ir.Node) -> str:
    """How a node is called: its name, or that of its first output."""
    return str(node.name or node.outputs[0].name)
