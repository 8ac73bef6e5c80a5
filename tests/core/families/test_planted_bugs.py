"""Bugs that exporters of transformers have had, planted into right files: each is refused."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

from tasks.core.export.fallback import export
from tasks.core.inputs.choice import choose_inputs
from tasks.core.model.building import build_with_weights
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tasks.core.weights.sources import find_weights
from tests.core.proof.proving import Exported, prove, swap
from tests.models.tiny_transformers import gpt2, sentences, vit

pytestmark = pytest.mark.slow


def made(make: Callable[[Path], object], folder: Path) -> Exported:
    """A folder's model, exported."""
    make(folder / "model")
    spec = resolve(ExportSpec(model=f"hf:{folder}/model"))
    module, _ = build_with_weights(spec, find_weights(spec, lambda uri: pytest.fail(uri)))
    reference = Reference(module, choose_inputs(spec, module))
    candidate, _ = export(spec, reference, provenance={}, folder=folder)
    return Exported(candidate, reference.inputs, reference)


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """GPT-2."""
    return made(gpt2, tmp_path_factory.mktemp("gpt2"))


def test_the_right_file_passes(decoder: Exported) -> None:
    """Without a bug, so that it is the bug that is refused."""
    assert decoder.prove().verdict == "pass"


def ignored(name: str, value: int) -> Callable[[onnx.ModelProto], None]:
    """Whatever is given as an input, another one of the same shape is computed with: all of one value."""

    def mutate(proto: onnx.ModelProto) -> None:
        for node in proto.graph.node:
            node.input[:] = [f"{name}_ignored" if given == name else given for given in node.input]
        proto.graph.initializer.append(numpy_helper.from_array(np.array(0, dtype=np.int64), f"{name}_zero"))
        proto.graph.initializer.append(numpy_helper.from_array(np.array(value, dtype=np.int64), f"{name}_one"))
        proto.graph.node.insert(0, helper.make_node("Mul", [name, f"{name}_zero"], [f"{name}_zeros"], name="zeros"))
        proto.graph.node.insert(
            1, helper.make_node("Add", [f"{name}_zeros", f"{name}_one"], [f"{name}_ignored"], name="all_one")
        )

    return mutate


def other_layers_weights(proto: onnx.ModelProto) -> None:
    """The second layer has the first one's projection."""
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    first = next(name for name in tensors if ".h.0." in name and name.endswith("c_fc.weight"))
    second = tensors[first.replace(".h.0.", ".h.1.")]
    second.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensors[first]), second.name))


def mask_off_by_one(proto: onnx.ModelProto) -> None:
    """A token sees those before it, and not itself."""
    node = next(node for node in proto.graph.node if node.op_type in ("LessOrEqual", "GreaterOrEqual"))
    node.op_type = node.op_type.removesuffix("OrEqual")


@pytest.mark.parametrize(
    ("bug", "module"),
    [
        (mask_off_by_one, "transformer"),
        (ignored("attention_mask", 1), "transformer"),
        (ignored("position_ids", 0), "transformer.wpe"),
        (other_layers_weights, "transformer.h.1.mlp.c_fc"),
    ],
    ids=["causal mask", "attention mask", "positions", "weights"],
)
def test_a_bug_in_a_decoder_is_refused(decoder: Exported, bug: Callable[[onnx.ModelProto], None], module: str) -> None:
    """A causal mask off by one, a mask or positions that are ignored, one layer's weights of another."""
    evidence = decoder.prove(mutate=bug)
    assert evidence.verdict == "fail"
    assert evidence.blame is not None
    assert evidence.blame.module_path == module


def test_pooling_over_padding_is_refused(tmp_path: Path) -> None:
    """The mean over all positions, as if no sentence of a batch were shorter than another."""

    def mutate(proto: onnx.ModelProto) -> None:
        node = [n for n in proto.graph.node if "attention_mask" in n.input][-1]
        proto.graph.initializer.append(numpy_helper.from_array(np.array(1, dtype=np.int64), "one"))
        place = list(proto.graph.node).index(node)
        node.input[:] = ["all_shown" if given == "attention_mask" else given for given in node.input]
        proto.graph.node.insert(place, helper.make_node("Max", ["attention_mask", "one"], ["all_shown"], name="shown"))

    pipeline = made(sentences, tmp_path)
    evidence = pipeline.prove(mutate=mutate)
    assert evidence.verdict == "fail"
    assert evidence.blame is not None
    assert evidence.blame.module_class == "Pooling"


class Normalise(nn.Module):
    """Subtracts the mean of each channel and divides by its standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Do so."""
        return (image - self.mean) / self.std


def test_swapped_mean_and_std_are_refused(tmp_path: Path) -> None:
    """Of a picture that is normalised in the graph, before the model of transformers."""
    network = nn.Sequential(OrderedDict(normalise=Normalise(), vit=vit(tmp_path / "vit")))
    inputs = ("image=float32[batch_size,3,16,16]@0..1",)
    evidence = prove(network, inputs, tmp_path, mutate=swap("normalise.mean", "normalise.std"), exporter="torchscript")
    assert evidence.verdict == "fail"
    assert evidence.blame is not None
    assert evidence.blame.module_path == "normalise"
