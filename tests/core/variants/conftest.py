"""The digits as a float32 file, with the samples that the project ships."""

from pathlib import Path

import onnx
import pytest
import torch

from deployments.digits.model import DigitsCNN
from tasks.core.onnx_files.reading import read_graph
from tasks.core.records.steps import Graph
from tasks.core.variants.data import Data
from tasks.core.variants.judgement import Judge
from tasks.core.variants.making import read_source

DIGITS = Path(__file__).parents[3] / "deployments" / "digits"


@pytest.fixture(scope="session")
def float32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits, traced."""
    path: Path = tmp_path_factory.mktemp("digits") / "digits.onnx"
    module = DigitsCNN().eval()
    module.load_state_dict(torch.load(DIGITS / "digits.pth"))
    axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    names = {"input_names": ["image"], "output_names": ["logits"], "dynamic_axes": axes}
    torch.onnx.export(module, (torch.zeros(2, 1, 8, 8),), path, dynamo=False, opset_version=20, **names)
    return path


@pytest.fixture(scope="session")
def graph(float32: Path) -> Graph:
    """Its description."""
    return read_graph(float32)


@pytest.fixture(scope="session")
def source(float32: Path) -> onnx.ModelProto:
    """It, as variants are made of it."""
    return read_source(float32)


@pytest.fixture(scope="session")
def calibration(graph: Graph) -> Data:
    """Digits of the training set."""
    return Data(str(DIGITS / "calibration.npz"), graph.inputs)


@pytest.fixture(scope="session")
def judge(source: onnx.ModelProto, graph: Graph, calibration: Data) -> Judge:
    """Holds variants against it on the digits that were held out."""
    return Judge(source, Data(str(DIGITS / "evaluation.npz"), graph.inputs), list(calibration))
