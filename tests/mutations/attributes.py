"""Operators without weights whose attributes or constants are other ones."""

import numpy as np

from tests.mutations.places import RECURRENT, Mutations, nodes_of
from tests.mutations.sites import Site

MUTATIONS = Mutations()


@MUTATIONS.enter("attributes", nodes_of("Softmax", "LogSoftmax"))
def softmax_over_another_axis(site: Site) -> bool:
    """Over heads or rows for columns."""
    return site.change_attribute("axis", 1 if site.attribute("axis", -1) != 1 else 2)


@MUTATIONS.enter("attributes", nodes_of("Transpose"))
def transpose_permuted(site: Site) -> bool:
    """Two axes of equal size in the other order."""
    perm = list(site.attribute("perm", []))
    if len(perm) < 2:
        return False
    first, second = site.generator.choice(len(perm), 2, replace=False)
    perm[first], perm[second] = perm[second], perm[first]
    return site.change_attribute("perm", perm)


@MUTATIONS.enter("attributes", nodes_of("MaxPool"))
def max_pool_averages(site: Site) -> bool:
    """Average for maximum."""
    kept = {
        k: v.value for k, v in site.node.attributes.items() if k in ("kernel_shape", "pads", "strides", "ceil_mode")
    }
    return len(site.node.outputs) == 1 and site.become("AveragePool", **kept)


@MUTATIONS.enter("attributes", nodes_of("AveragePool"))
def padding_counted(site: Site) -> bool:
    """The padding counts in the average, or does not."""
    return any(site.attribute("pads", [])) and site.change_attribute(
        "count_include_pad", 1 - site.attribute("count_include_pad", 0)
    )


@MUTATIONS.enter("attributes", nodes_of("Resize"))
def resize_mode_swapped(site: Site) -> bool:
    """Nearest for linear."""
    return site.change_attribute("mode", "linear" if site.attribute("mode", "nearest") == "nearest" else "nearest")


@MUTATIONS.enter("attributes", nodes_of("Resize"))
def resize_aligned_otherwise(site: Site) -> bool:
    """Another coordinate transformation."""
    is_old = site.attribute("coordinate_transformation_mode", "half_pixel") == "asymmetric"
    return site.change_attribute("coordinate_transformation_mode", "half_pixel" if is_old else "asymmetric")


@MUTATIONS.enter("attributes", nodes_of("Pad"))
def padded_with_a_tenth(site: Site) -> bool:
    """Another value in the padding."""
    if site.attribute("mode", "constant") != "constant":
        return False
    site.node.resize_inputs(max(3, len(site.node.inputs)))
    site.node.replace_input_with(2, site.add(np.asarray(0.1, dtype=np.float32)))
    return site.touch()


@MUTATIONS.enter("attributes", nodes_of("Gemm"))
def gemm_alpha_off_by_1_percent(site: Site) -> bool:
    """An alpha of 1.01."""
    return site.change_attribute("alpha", 1.01 * site.attribute("alpha", 1.0))


@MUTATIONS.enter("attributes", nodes_of("Gemm"))
def gemm_weight_not_transposed(site: Site) -> bool:
    """A square weight the wrong way round."""
    return site.change_attribute("transB", 1 - site.attribute("transB", 0))


@MUTATIONS.enter("attributes", nodes_of("ReduceMean"))
def mean_made_maximum(site: Site) -> bool:
    """Maximum for average pooling."""
    return site.become("ReduceMax", **{k: v.value for k, v in site.node.attributes.items()})


@MUTATIONS.enter("attributes", nodes_of("GlobalAveragePool"))
def global_mean_made_maximum(site: Site) -> bool:
    """Maximum for average pooling, over the whole picture."""
    return site.become("GlobalMaxPool")


@MUTATIONS.enter("attributes", nodes_of("ArgMax", "ArgMin"))
def arg_max_made_minimum(site: Site) -> bool:
    """The least likely class."""
    site.node.op_type = "ArgMin" if site.node.op_type == "ArgMax" else "ArgMax"
    return site.touch()


@MUTATIONS.enter("attributes", nodes_of("TopK"))
def top_k_smallest(site: Site) -> bool:
    """The smallest ones."""
    return site.change_attribute("largest", 1 - site.attribute("largest", 1))


@MUTATIONS.enter("attributes", nodes_of("NonMaxSuppression"))
def suppression_threshold_moved(site: Site) -> bool:
    """Boxes may overlap by a tenth less."""
    threshold = site.constant(3)
    return threshold is not None and site.give(3, np.asarray(threshold - 0.1, dtype=np.float32))


@MUTATIONS.enter("attributes", nodes_of(*RECURRENT))
def read_backwards(site: Site) -> bool:
    """The sequence from its end."""
    old = site.attribute("direction", "forward")
    return old != "bidirectional" and site.change_attribute("direction", "reverse" if old == "forward" else "forward")


@MUTATIONS.enter("attributes", nodes_of("Gather"))
def index_off_by_one(site: Site) -> bool:
    """The class token, the last step: its neighbour."""
    found, data = site.constant(1), site.constant(0)
    if found is None or found.dtype.kind != "i" or data is not None:
        return False
    return site.give(1, np.where(found > 0, found - 1, found + (1 if (found == 0).all() else -1)).astype(found.dtype))


@MUTATIONS.enter("attributes", nodes_of("Slice"))
def slice_starts_one_later(site: Site) -> bool:
    """A window of the same length, one element on."""
    starts, ends = site.constant(1), site.constant(2)
    if starts is None or ends is None or (ends > 2**31 - 2).any():
        return False
    step = -1 if (starts > 0).all() else 1
    return site.give(1, starts + step) and site.give(2, ends + step)
