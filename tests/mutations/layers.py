"""Norms, convolutions and activations that compute something else."""

import numpy as np

from tests.mutations.places import Mutations, nodes_of
from tests.mutations.sites import Site

MUTATIONS = Mutations()
_ELSEWHERE = {"Relu": "Identity", "Sigmoid": "Tanh", "Tanh": "Sigmoid", "Erf": "Tanh", "Selu": "Elu"}


@MUTATIONS.enter("attributes", nodes_of("BatchNormalization", "LayerNormalization", "InstanceNormalization"))
def epsilon_100_times(site: Site) -> bool:
    """1e-3 for 1e-5."""
    return site.change_attribute("epsilon", 100 * site.attribute("epsilon", 1e-5))


@MUTATIONS.enter("attributes", nodes_of("Conv"))
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


@MUTATIONS.enter("attributes", nodes_of("Conv"))
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


@MUTATIONS.enter("attributes", nodes_of("Relu"))
def relu_leaks(site: Site) -> bool:
    """A hundredth of what is negative gets through."""
    return site.become("LeakyRelu", alpha=0.01)


@MUTATIONS.enter("attributes", nodes_of("Relu", "Sigmoid", "Tanh", "Erf"))
def activation_swapped(site: Site) -> bool:
    """Another activation, or none."""
    return site.become(_ELSEWHERE[site.node.op_type])


@MUTATIONS.enter("attributes", nodes_of("HardSwish", "HardSigmoid", "Elu", "PRelu", "LeakyRelu"))
def activation_made_smooth(site: Site) -> bool:
    """A parametric or piecewise activation for a plain one."""
    return site.become("Softplus" if site.node.op_type == "HardSwish" else "Sigmoid", 1)


@MUTATIONS.enter("attributes", nodes_of("HardSigmoid"))
def hard_sigmoid_of_onnx(site: Site) -> bool:
    """ONNX's slope of 0.2 for PyTorch's of 1/6."""
    return site.change_attribute("alpha", 0.2)


@MUTATIONS.enter("weights", nodes_of("PRelu"))
def slope_off_by_1_percent(site: Site) -> bool:
    """The learned slope."""
    return site.reweigh(lambda v: v * 1.01, index=1)


@MUTATIONS.enter("attributes", nodes_of("Gelu"))
def gelu_approximated(site: Site) -> bool:
    """The formula with tanh for the one with erf."""
    is_exact = site.attribute("approximate", "none") == "none"
    return site.change_attribute("approximate", "tanh" if is_exact else "none")


@MUTATIONS.enter("attributes", nodes_of("Clip"))
def clip_at_5(site: Site) -> bool:
    """ReLU5 for ReLU6."""
    high = site.constant(2)
    return high is not None and high.dtype == np.float32 and site.give(2, np.asarray(high - 1, dtype=np.float32))
