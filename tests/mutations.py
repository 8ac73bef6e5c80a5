"""Graph mutations over onnx_ir: the ways in which a file comes to compute something else than its model.

`mutate` puts one mutated copy after another into a folder. Each mutation is a function that changes one
place of a graph and says whether it found anything to change; MUTATIONS lists them by family.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from tasks.core.probes import BATCH_SIZES, Array

Place = ir.Node | ir.Value
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
RECURRENT = ("LSTM", "GRU", "RNN")
_WEIGHT_INPUT = {"Gather": 0}
_ELSEWHERE = {"Relu": "Identity", "Sigmoid": "Tanh", "Tanh": "Sigmoid", "Erf": "Tanh", "Selu": "Elu"}


@dataclass(frozen=True)
class Mutant:
    """A mutated copy of a file, and the truth about it."""

    name: str
    """`mutation@node`."""
    mutation: str
    family: str
    path: Path
    nodes: tuple[str, ...]
    """Names in the mutated file of the nodes to blame: those changed or put in, and who takes what was changed."""
    parameter: str
    """Name of the initializer that was changed; empty: none was."""
    is_single_node: bool
    """One node, or one node's weights: its place can be named."""
    is_declaration: bool
    """Only what the file declares was changed, not what it computes: it always counts."""


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
        return _held(value)

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
            self.touched += [_name(user) for user, _ in value.uses()]
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
        self.touched += [_name(node) for node in nodes or (self.node,)]
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

    def route(self, value: ir.Value, *steps: tuple[str, Sequence[Array], dict[str, Any]]) -> bool:
        """Lead a value through further nodes: operator, constants beside the value, attributes.

        A graph's output keeps its name; who takes it inside the graph still gets the old value.
        """
        graph = self.model.graph
        is_output = value.is_graph_output()
        users = [] if is_output else list(value.uses())
        flow, nodes = value, []
        for number, (op_type, constants, attributes) in enumerate(steps):
            step = ir.node(op_type, [flow, *map(self.add, constants)], attributes or None)
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


@dataclass(frozen=True)
class Mutation:
    """One way to go wrong."""

    name: str
    family: str
    places: Callable[[ir.Model], Sequence[Place]]
    change: Callable[[Site], bool]
    is_single_node: bool = True
    is_declaration: bool = False


MUTATIONS: list[Mutation] = []
Change = Callable[[Site], bool]


def mutate(
    path: Path, folder: Path, *, seed: int = 0, num_places: int = 2, runs: Callable[[Path], bool] = lambda _: True
) -> Iterator[Mutant]:
    """Write mutated copies of a file, each mutation at a few places of the graph.

    Args:
        path: the file to copy.
        folder: where the copies go; the caller deletes them.
        seed: decides on the places.
        num_places: a mutation; the first one lies in the first half of those there are.
        runs: is asked whether ONNX Runtime takes the copy as it took the file; what it refuses is no mutant.
    """
    clean = ir.load(path)
    for number, mutation in enumerate(MUTATIONS):
        num_left = num_places
        for index in _spread(len(mutation.places(clean)), np.random.default_rng([seed, number])):
            if not num_left:
                break
            mutant = _apply(mutation, path, folder, index, seed)
            if mutant is not None and (mutation.is_declaration or runs(mutant.path)):
                num_left -= 1
                yield mutant
            elif mutant is not None:
                mutant.path.unlink()


def _apply(mutation: Mutation, path: Path, folder: Path, index: int, seed: int) -> Mutant | None:
    model = ir.load(path)
    place = mutation.places(model)[index]
    name = f"{mutation.name}@{_name(place) if isinstance(place, ir.Node) else place.name}"
    site = Site(model, place, np.random.default_rng([seed, index]))
    if not mutation.change(site):
        return None
    target = folder / f"{mutation.name}-{index}.onnx"
    ir.save(model, target)
    nodes = tuple(dict.fromkeys(site.touched))
    is_single = mutation.is_single_node and not mutation.is_declaration and not (site.parameter and len(nodes) > 1)
    return Mutant(
        name, mutation.name, mutation.family, target, nodes, site.parameter, is_single, mutation.is_declaration
    )


def _spread(num_places: int, generator: np.random.Generator) -> list[int]:
    """All places in a random order that alternates between the halves of the graph, cut where trying gets long."""
    early, late = (generator.permutation(half) for half in np.array_split(np.arange(num_places), 2))
    order = [int(i) for pair in zip(early, late, strict=False) for i in pair]
    return [*order, *(int(i) for i in early[len(late) :])][:12]


def _held(value: ir.Value) -> Array | None:
    tensor = ir.convenience.get_const_tensor(value)
    return None if tensor is None or value.is_graph_input() else np.array(tensor.numpy())


def _name(node: ir.Node) -> str:
    return str(node.name or node.outputs[0].name)


def _nodes(*op_types: str) -> Callable[[ir.Model], Sequence[Place]]:
    return lambda model: [node for node in model.graph if node.op_type in op_types and node.domain in ("", "ai.onnx")]


def _weighted(model: ir.Model) -> Sequence[Place]:
    return [n for n in model.graph if n.op_type in WEIGHTED and any(v is not None and _is_matrix(v) for v in n.inputs)]


def _is_matrix(value: ir.Value) -> bool:
    tensor = ir.convenience.get_const_tensor(value)
    return tensor is not None and tensor.dtype == ir.DataType.FLOAT and len(tensor.shape) >= 2


def _last_weighted(model: ir.Model) -> Sequence[Place]:
    return _weighted(model)[-1:]


def _float_inputs(model: ir.Model) -> Sequence[Place]:
    return [v for v in model.graph.inputs if v.dtype == ir.DataType.FLOAT and not v.is_initializer()]


def _integer_inputs(model: ir.Model) -> Sequence[Place]:
    return [v for v in model.graph.inputs if v.dtype == ir.DataType.INT64 and not v.is_initializer() and v.uses()]


def _float_outputs(model: ir.Model) -> Sequence[Place]:
    return [v for v in model.graph.outputs if v.dtype == ir.DataType.FLOAT]


def _inputs(model: ir.Model) -> Sequence[Place]:
    return [value for value in model.graph.inputs if not value.is_initializer()]


def _outputs(model: ir.Model) -> Sequence[Place]:
    return list(model.graph.outputs)


def _float_nodes(model: ir.Model) -> Sequence[Place]:
    """Nodes in whose output something of the input flows as float32."""
    flows = {value for value in model.graph.inputs if not value.is_initializer()}
    found = []
    for node in model.graph:
        if node.op_type not in ("Shape", "Size") and any(value in flows for value in node.inputs):
            flows.update(node.outputs)
            if node.outputs[0].dtype in (ir.DataType.FLOAT, None) and not node.outputs[0].is_graph_output():
                found.append(node)
    return found


def mutation(family: str, places: Callable[[ir.Model], Sequence[Place]], **options: bool) -> Callable[[Change], Change]:
    """Enter a function into MUTATIONS."""

    def enter(change: Change) -> Change:
        MUTATIONS.append(Mutation(change.__name__, family, places, change, **options))
        return change

    return enter


def _channel_axis(site: Site) -> int:
    """Which axis of the node's weights counts its output channels."""
    op_type = site.node.op_type
    if op_type == "Gemm":
        return 0 if site.attribute("transB", 0) else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(op_type, -1)


def _swap(array: Array, axis: int, first: int, second: int) -> Array:
    order = np.arange(array.shape[axis])
    order[[first, second]] = order[[second, first]]
    return np.take(array, order, axis=axis)


# --- weights


@mutation("weights", _weighted)
def weights_scaled_by_1_percent(site: Site) -> bool:
    """A scale that was folded in twice."""
    return site.reweigh(lambda w: w * 1.01)


@mutation("weights", _weighted)
def weights_scaled_by_a_thousandth(site: Site) -> bool:
    """A normalisation that was folded in with another epsilon."""
    return site.reweigh(lambda w: w * 1.001)


@mutation("weights", _weighted)
def one_channel_zeroed(site: Site) -> bool:
    """A pruned channel."""
    axis = _channel_axis(site)

    def change(w: Array) -> Array:
        np.moveaxis(w, axis, 0)[site.generator.integers(w.shape[axis])] = 0
        return w

    return site.reweigh(change)


@mutation("weights", _weighted)
def largest_weight_negated(site: Site) -> bool:
    """One sign bit."""

    def change(w: Array) -> Array:
        w.flat[np.abs(w).argmax()] *= -1
        return w

    return site.reweigh(change)


@mutation("weights", _weighted)
def one_weight_off_by_10_percent(site: Site) -> bool:
    """One element of a layer."""

    def change(w: Array) -> Array:
        large = np.flatnonzero(np.abs(w.ravel()) >= np.median(np.abs(w)))
        w.flat[site.generator.choice(large)] *= 1.1
        return w

    return site.reweigh(change)


@mutation("precision", _weighted)
def weights_rounded_to_float16(site: Site) -> bool:
    """A checkpoint that went through half precision."""
    return site.reweigh(lambda w: w.astype(np.float16).astype(np.float32))


@mutation("precision", _weighted)
def weights_rounded_to_bfloat16(site: Site) -> bool:
    """A checkpoint that went through bfloat16."""
    return site.reweigh(lambda w: ((w.view(np.uint32) + 0x8000) & 0xFFFF0000).astype(np.uint32).view(np.float32))


@mutation("precision", _weighted)
def weights_rounded_to_int8(site: Site) -> bool:
    """A quantised layer."""

    def change(w: Array) -> Array:
        step = np.abs(w).max() / 127
        return np.round(w / step) * step if step else w

    return site.reweigh(change)


@mutation("weights", _nodes("Conv", "ConvTranspose", "Gemm"))
def bias_zeroed(site: Site) -> bool:
    """A bias that the exporter dropped."""
    return site.reweigh(np.zeros_like, index=2)


@mutation("weights", _nodes("Conv", "ConvTranspose", "Gemm"))
def bias_shifted(site: Site) -> bool:
    """A bias off by a hundredth of its spread, up and down, as a norm that follows takes an equal shift away."""

    def change(b: Array) -> Array:
        step = 0.01 * np.sqrt(np.mean(b**2))
        return b + np.where(np.arange(b.size) % 2, step, -step).reshape(b.shape)

    return site.reweigh(change, index=2)


@mutation("weights", _weighted)
def two_channels_swapped(site: Site) -> bool:
    """Output channels in another order."""
    axis = _channel_axis(site)

    def change(w: Array) -> Array:
        if w.shape[axis] < 2:
            return w
        first, second = site.generator.choice(w.shape[axis], 2, replace=False)
        return _swap(w, axis, first, second)

    return site.reweigh(change)


@mutation("weights", _last_weighted)
def first_two_classes_swapped(site: Site) -> bool:
    """A label file in another order: weights and bias of two classes change places."""
    axis = _channel_axis(site)
    found = site.weight()
    if found is None or found[1].shape[axis] < 2:
        return False
    if site.constant(2) is not None and site.node.op_type != "MatMul":
        site.reweigh(lambda b: _swap(b, -1, 0, 1) if b.shape[-1] > 1 else b, index=2)
    return site.reweigh(lambda w: _swap(w, axis, 0, 1))


@mutation("weights", _nodes("Conv", "ConvTranspose"))
def kernel_transposed(site: Site) -> bool:
    """Height for width."""
    return site.reweigh(lambda w: np.swapaxes(w, -1, -2) if w.ndim == 4 else w)


@mutation("weights", _nodes("Conv", "ConvTranspose"))
def kernel_flipped(site: Site) -> bool:
    """Convolution for correlation."""
    return site.reweigh(lambda w: w[..., ::-1])


@mutation("weights", _weighted, is_single_node=False)
def weights_of_two_layers_exchanged(site: Site) -> bool:
    """Two keys of a checkpoint that were mistaken for each other."""
    mine = site.weight()
    if mine is None:
        return False
    others = [Site(site.model, node, site.generator) for node in _weighted(site.model) if node is not site.node]
    pairs = ((other, theirs[1]) for other in others if (theirs := other.weight()) is not None)
    other, theirs = next(((o, w) for o, w in pairs if w.shape == mine[1].shape), (None, mine[1]))
    if other is None or not (other.reweigh(lambda _: mine[1]) and site.reweigh(lambda _: theirs)):
        return False
    site.touched += other.touched
    return True


@mutation("weights", _nodes("BatchNormalization"))
def running_mean_zeroed(site: Site) -> bool:
    """Batch norm without its statistics."""
    return site.reweigh(np.zeros_like, index=3)


@mutation("weights", _nodes("BatchNormalization"))
def running_variance_scaled(site: Site) -> bool:
    """Biased for unbiased variance."""
    return site.reweigh(lambda v: v * 1.01, index=4)


@mutation("weights", _nodes("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"))
def norm_scale_off_by_1_percent(site: Site) -> bool:
    """The gain of a norm."""
    return site.reweigh(lambda v: v * 1.01, index=1)


@mutation("weights", _nodes("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"))
def norm_bias_shifted(site: Site) -> bool:
    """The shift of a norm."""
    return site.reweigh(lambda v: v + np.float32(0.01), index=2)


@mutation("weights", _nodes("Gather"))
def two_embeddings_swapped(site: Site) -> bool:
    """A vocabulary in another order."""
    return site.reweigh(lambda w: _swap(w, 0, 1, 2) if w.ndim == 2 and len(w) > 2 else w, index=0)


@mutation("weights", _nodes("LSTM", "GRU"))
def gates_permuted(site: Site) -> bool:
    """PyTorch's order of gates, ifgo, for ONNX's, iofg."""

    def change(w: Array) -> Array:
        first, second, *rest = np.split(w, 4 if site.node.op_type == "LSTM" else 3, axis=1)
        return np.concatenate([second, first, *rest], axis=1)

    return site.reweigh(change, index=1)


@mutation("weights", _nodes(*RECURRENT))
def recurrence_scaled_by_1_percent(site: Site) -> bool:
    """The hidden-to-hidden weights."""
    return site.reweigh(lambda w: w * 1.01, index=2)


@mutation("weights", _nodes(*RECURRENT))
def recurrent_bias_zeroed(site: Site) -> bool:
    """Both biases of a recurrent layer."""
    return site.reweigh(np.zeros_like, index=3)


@mutation("weights", _nodes("Mul", "Add", "Sub", "Div"))
def constant_off_by_1_percent(site: Site) -> bool:
    """A scale such as attention's, or a table of positions."""
    index = next((i for i in (0, 1) if (c := site.constant(i)) is not None and c.dtype == np.float32), None)
    return index is not None and site.reweigh(lambda c: c * 1.01, index=index)


# --- attributes


@mutation("attributes", _nodes("BatchNormalization", "LayerNormalization", "InstanceNormalization"))
def epsilon_100_times(site: Site) -> bool:
    """1e-3 for 1e-5."""
    return site.change_attribute("epsilon", 100 * site.attribute("epsilon", 1e-5))


@mutation("attributes", _nodes("Conv"))
def padding_shifted(site: Site) -> bool:
    """TensorFlow's SAME, which pads the end first."""
    pads = list(site.attribute("pads", []))
    half = len(pads) // 2
    if not half or not any(pads):
        return False
    axis = next(i for i in range(half) if pads[i])
    pads[axis] -= 1
    pads[axis + half] += 1
    return site.change_attribute("pads", pads)


@mutation("attributes", _nodes("Conv"))
def dilation_doubled(site: Site) -> bool:
    """A dilated kernel whose padding makes up for its size."""
    found = site.weight(1)
    kernel = list(found[1].shape[2:]) if found else []
    if not kernel or max(kernel) == 1 or any(k % 2 == 0 for k in kernel):
        return False
    old = site.attribute("dilations", [1] * len(kernel))
    pads = list(site.attribute("pads", [0] * (2 * len(kernel))))
    wider = [(k - 1) * d // 2 for k, d in zip(kernel, old, strict=True)]
    site.change_attribute("pads", [p + w for p, w in zip(pads, wider * 2, strict=True)])
    return site.change_attribute("dilations", [2 * d for d in old])


@mutation("attributes", _nodes("Relu"))
def relu_leaks(site: Site) -> bool:
    """A hundredth of what is negative gets through."""
    return site.become("LeakyRelu", alpha=0.01)


@mutation("attributes", _nodes("Relu", "Sigmoid", "Tanh", "Erf"))
def activation_swapped(site: Site) -> bool:
    """Another activation, or none."""
    return site.become(_ELSEWHERE[site.node.op_type])


@mutation("attributes", _nodes("HardSwish", "HardSigmoid", "Elu", "PRelu", "LeakyRelu"))
def activation_made_smooth(site: Site) -> bool:
    """A parametric or piecewise activation for a plain one."""
    return site.become("Softplus" if site.node.op_type == "HardSwish" else "Sigmoid", 1)


@mutation("attributes", _nodes("HardSigmoid"))
def hard_sigmoid_of_onnx(site: Site) -> bool:
    """ONNX's slope of 0.2 for PyTorch's of 1/6."""
    return site.change_attribute("alpha", 0.2)


@mutation("weights", _nodes("PRelu"))
def slope_off_by_1_percent(site: Site) -> bool:
    """The learned slope."""
    return site.reweigh(lambda v: v * 1.01, index=1)


@mutation("attributes", _nodes("Gelu"))
def gelu_approximated(site: Site) -> bool:
    """The formula with tanh for the one with erf."""
    is_exact = site.attribute("approximate", "none") == "none"
    return site.change_attribute("approximate", "tanh" if is_exact else "none")


@mutation("attributes", _nodes("Clip"))
def clip_at_5(site: Site) -> bool:
    """ReLU5 for ReLU6."""
    high = site.constant(2)
    return high is not None and high.dtype == np.float32 and site.give(2, np.asarray(high - 1, dtype=np.float32))


@mutation("attributes", _nodes("Softmax", "LogSoftmax"))
def softmax_over_another_axis(site: Site) -> bool:
    """Over heads or rows for columns."""
    return site.change_attribute("axis", 1 if site.attribute("axis", -1) != 1 else 2)


@mutation("attributes", _nodes("Transpose"))
def transpose_permuted(site: Site) -> bool:
    """Two axes of equal size in the other order."""
    perm = list(site.attribute("perm", []))
    if len(perm) < 2:
        return False
    first, second = site.generator.choice(len(perm), 2, replace=False)
    perm[first], perm[second] = perm[second], perm[first]
    return site.change_attribute("perm", perm)


@mutation("attributes", _nodes("MaxPool"))
def max_pool_averages(site: Site) -> bool:
    """Average for maximum."""
    kept = {
        k: v.value for k, v in site.node.attributes.items() if k in ("kernel_shape", "pads", "strides", "ceil_mode")
    }
    return len(site.node.outputs) == 1 and site.become("AveragePool", **kept)


@mutation("attributes", _nodes("AveragePool"))
def padding_counted(site: Site) -> bool:
    """The padding counts in the average, or does not."""
    return any(site.attribute("pads", [])) and site.change_attribute(
        "count_include_pad", 1 - site.attribute("count_include_pad", 0)
    )


@mutation("attributes", _nodes("Resize"))
def resize_mode_swapped(site: Site) -> bool:
    """Nearest for linear."""
    return site.change_attribute("mode", "linear" if site.attribute("mode", "nearest") == "nearest" else "nearest")


@mutation("attributes", _nodes("Resize"))
def resize_aligned_otherwise(site: Site) -> bool:
    """Another coordinate transformation."""
    is_old = site.attribute("coordinate_transformation_mode", "half_pixel") == "asymmetric"
    return site.change_attribute("coordinate_transformation_mode", "half_pixel" if is_old else "asymmetric")


@mutation("attributes", _nodes("Pad"))
def padded_with_a_tenth(site: Site) -> bool:
    """Another value in the padding."""
    if site.attribute("mode", "constant") != "constant":
        return False
    site.node.resize_inputs(max(3, len(site.node.inputs)))
    site.node.replace_input_with(2, site.add(np.asarray(0.1, dtype=np.float32)))
    return site.touch()


@mutation("attributes", _nodes("Gemm"))
def gemm_alpha_off_by_1_percent(site: Site) -> bool:
    """An alpha of 1.01."""
    return site.change_attribute("alpha", 1.01 * site.attribute("alpha", 1.0))


@mutation("attributes", _nodes("Gemm"))
def gemm_weight_not_transposed(site: Site) -> bool:
    """A square weight the wrong way round."""
    return site.change_attribute("transB", 1 - site.attribute("transB", 0))


@mutation("attributes", _nodes("ReduceMean"))
def mean_made_maximum(site: Site) -> bool:
    """Maximum for average pooling."""
    return site.become("ReduceMax", **{k: v.value for k, v in site.node.attributes.items()})


@mutation("attributes", _nodes("GlobalAveragePool"))
def global_mean_made_maximum(site: Site) -> bool:
    """Maximum for average pooling, over the whole picture."""
    return site.become("GlobalMaxPool")


@mutation("attributes", _nodes("ArgMax", "ArgMin"))
def arg_max_made_minimum(site: Site) -> bool:
    """The least likely class."""
    site.node.op_type = "ArgMin" if site.node.op_type == "ArgMax" else "ArgMax"
    return site.touch()


@mutation("attributes", _nodes("TopK"))
def top_k_smallest(site: Site) -> bool:
    """The smallest ones."""
    return site.change_attribute("largest", 1 - site.attribute("largest", 1))


@mutation("attributes", _nodes("NonMaxSuppression"))
def suppression_threshold_moved(site: Site) -> bool:
    """Boxes may overlap by a tenth less."""
    threshold = site.constant(3)
    return threshold is not None and site.give(3, np.asarray(threshold - 0.1, dtype=np.float32))


@mutation("attributes", _nodes(*RECURRENT))
def read_backwards(site: Site) -> bool:
    """The sequence from its end."""
    old = site.attribute("direction", "forward")
    return old != "bidirectional" and site.change_attribute("direction", "reverse" if old == "forward" else "forward")


@mutation("attributes", _nodes("Gather"))
def index_off_by_one(site: Site) -> bool:
    """The class token, the last step: its neighbour."""
    found, data = site.constant(1), site.constant(0)
    if found is None or found.dtype.kind != "i" or data is not None:
        return False
    return site.give(1, np.where(found > 0, found - 1, found + (1 if (found == 0).all() else -1)).astype(found.dtype))


@mutation("attributes", _nodes("Slice"))
def slice_starts_one_later(site: Site) -> bool:
    """A window of the same length, one element on."""
    starts, ends = site.constant(1), site.constant(2)
    if starts is None or ends is None or (ends > 2**31 - 2).any():
        return False
    step = -1 if (starts > 0).all() else 1
    return site.give(1, starts + step) and site.give(2, ends + step)


# --- wiring


@mutation("wiring", _nodes("Add"))
def sum_made_difference(site: Site) -> bool:
    """The sign of a sum."""
    site.node.op_type = "Sub"
    return site.touch()


@mutation("wiring", _nodes("Add"))
def residual_dropped(site: Site) -> bool:
    """The sum is one of its parts."""
    if any(value is None or _held(value) is not None for value in site.node.inputs):
        return False
    return site.become("Identity", 1)


@mutation("wiring", _nodes("Add", "Mul"))
def one_operand_twice(site: Site) -> bool:
    """Both inputs of a sum or product are the first."""
    first, second = site.node.inputs[:2]
    if first is None or second is None or first is second or _held(first) is not None or _held(second) is not None:
        return False
    site.node.replace_input_with(1, first)
    return site.touch()


@mutation("wiring", _nodes("Sub", "Div", "Where", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"))
def operands_swapped(site: Site) -> bool:
    """The two sides of a difference, quotient, choice or comparison."""
    at = len(site.node.inputs) - 2
    first, second = site.node.inputs[at : at + 2]
    site.node.replace_input_with(at, second)
    site.node.replace_input_with(at + 1, first)
    return site.touch()


@mutation("wiring", _nodes("Concat"))
def concatenated_in_another_order(site: Site) -> bool:
    """The last part first."""
    if site.node.outputs[0].dtype not in (ir.DataType.FLOAT, None):
        return False  # a shape
    first, *middle, last = site.node.inputs
    for index, value in enumerate([last, *middle, first]):
        site.node.replace_input_with(index, value)
    return first is not last and site.touch()


@mutation("wiring", _nodes("Reshape", "Flatten"))
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


@mutation("wiring", _nodes("Split"), is_single_node=False)
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


@mutation("wiring", _nodes("Relu", "Clip", "Conv", "MatMul", "Gemm"))
def fed_from_one_layer_before(site: Site) -> bool:
    """A layer skipped: its taker gets what went into it."""
    out, into = site.node.outputs[0], site.node.inputs[0]
    users = list(out.uses())
    if not users or into is None or out.is_graph_output():
        return False
    user, index = users[0]
    user.replace_input_with(index, into)
    return site.touch(site.node, user)


# --- precision


@mutation("precision", _float_nodes)
def activations_in_float16(site: Site) -> bool:
    """A cast to half precision and back."""
    steps = (("Cast", (), {"to": int(dtype)}) for dtype in (ir.DataType.FLOAT16, ir.DataType.FLOAT))
    return site.route(site.node.outputs[0], *steps)


@mutation("precision", _float_nodes)
def activations_in_8_bits(site: Site) -> bool:
    """Quantised and dequantised, without clipping."""
    step = np.asarray(1 / 16, dtype=np.float32)
    return site.route(site.node.outputs[0], ("Div", (step,), {}), ("Round", (), {}), ("Mul", (step,), {}))


# --- outputs


@mutation("outputs", _outputs, is_single_node=False)
def outputs_swapped(site: Site) -> bool:
    """Two outputs under each other's name."""
    outputs = site.model.graph.outputs
    mine = list(outputs).index(site.value)
    for index, other in enumerate(outputs):
        if index != mine and other.dtype == site.value.dtype and other.shape == site.value.shape:
            outputs[mine], outputs[index] = other, site.value
            site.value.name, other.name = other.name, site.value.name
            return site.touch(*(p for v in (site.value, other) if (p := v.producer()) is not None))
    return False


@mutation("outputs", _float_outputs)
def output_made_constant(site: Site) -> bool:
    """The right shape, and one number everywhere."""
    zero, one = np.asarray(0, dtype=np.float32), np.asarray(0.5, dtype=np.float32)
    return site.route(site.value, ("Mul", (zero,), {}), ("Add", (one,), {}))


@mutation("outputs", _float_outputs)
def output_scaled_by_a_thousandth(site: Site) -> bool:
    """1.001 times the output."""
    return site.route(site.value, ("Mul", (np.asarray(1.001, dtype=np.float32),), {}))


@mutation("outputs", _float_outputs)
def output_activated(site: Site) -> bool:
    """A sigmoid that the model leaves to the caller."""
    return site.route(site.value, ("Sigmoid", (), {}))


@mutation("outputs", _float_outputs)
def rows_reversed(site: Site) -> bool:
    """The batch in another order."""
    return _reverse(site, site.value, axis=0)


# --- dims


@mutation("dims", _inputs, is_declaration=True)
def dynamic_dims_declared_fixed(site: Site) -> bool:
    """The traced sizes, declared."""
    if site.value.shape is None or all(isinstance(dim, int) for dim in site.value.shape):
        return False
    site.value.shape = ir.Shape([dim if isinstance(dim, int) else BATCH_SIZES[0] for dim in site.value.shape])
    return True


@mutation("dims", _float_nodes)
def batch_frozen_by_a_reshape(site: Site) -> bool:
    """The traced batch, as a Python number in forward."""
    value = site.node.outputs[0]
    dims = list(value.shape) if value.shape is not None else []
    if not dims or isinstance(dims[0], int) or not all(isinstance(dim, int) for dim in dims[1:]):
        return False
    shape = np.array([BATCH_SIZES[0], *dims[1:]], dtype=np.int64)
    return site.route(value, ("Reshape", (shape,), {}))


@mutation("dims", _float_outputs)
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


# --- preprocessing


@mutation("preprocessing", _float_inputs)
def input_scaled_by_1_percent(site: Site) -> bool:
    """A standard deviation that is slightly off."""
    return site.route(site.value, ("Mul", (np.asarray(1.01, dtype=np.float32),), {}))


@mutation("preprocessing", _float_inputs)
def input_shifted_by_a_hundredth(site: Site) -> bool:
    """A mean that is slightly off."""
    return site.route(site.value, ("Sub", (np.asarray(0.01, dtype=np.float32),), {}))


@mutation("preprocessing", _float_inputs)
def one_channel_normalised_otherwise(site: Site) -> bool:
    """0.485 / 0.229 for 0.485 / 0.225: the constants of another channel."""
    shape = site.value.shape
    if shape is None or len(shape) != 4 or not isinstance(shape[1], int):
        return False
    factor = np.ones((1, shape[1], 1, 1), dtype=np.float32)
    factor[0, -1] = 0.229 / 0.225
    return site.route(site.value, ("Mul", (factor,), {}))


@mutation("preprocessing", _float_inputs)
def channels_reversed(site: Site) -> bool:
    """BGR for RGB."""
    shape = site.value.shape
    return shape is not None and len(shape) == 4 and shape[1] == 3 and _reverse(site, site.value, axis=1)


@mutation("preprocessing", _float_inputs)
def mirrored(site: Site) -> bool:
    """Right for left."""
    shape = site.value.shape
    return shape is not None and len(shape) == 4 and _reverse(site, site.value, axis=3)


@mutation("preprocessing", _float_inputs)
def input_in_256_steps(site: Site) -> bool:
    """Pixels that were rounded to a byte."""
    step = np.asarray(1 / 64, dtype=np.float32)
    return site.route(site.value, ("Div", (step,), {}), ("Round", (), {}), ("Mul", (step,), {}))


@mutation("preprocessing", _integer_inputs)
def ids_off_by_one(site: Site) -> bool:
    """A vocabulary with or without its padding token."""
    zero, one = np.asarray(0, dtype=np.int64), np.asarray(1, dtype=np.int64)
    return site.route(site.value, ("Sub", (one,), {}), ("Max", (zero,), {}))


def _reverse(site: Site, value: ir.Value, axis: int) -> bool:
    start, end, at, step = (np.array([n], dtype=np.int64) for n in (-1, -(2**62), axis, -1))
    return site.route(value, ("Slice", (start, end, at, step), {}))
