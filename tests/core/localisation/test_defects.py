"""A defect is handed over as one node with its inputs, and a script that shows it without Assay."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tasks.core.localisation.reproduction import write_reproduction
from tasks.core.proof.validation import validate
from tasks.core.records.steps import Candidate
from tests.core.proof.proving import IMAGE, exported, weight
from tests.models.tiny_models import Classifier

FACTOR = np.float32(1.01)


@pytest.fixture(scope="module")
def reproduction(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder written for a head whose weights are off by 1 %."""
    folder = tmp_path_factory.mktemp("wrong")
    file = exported(Classifier(), IMAGE, folder, exporter="torchscript")
    proto = onnx.load(file.graph.path)
    weight("head.weight", lambda values: values * FACTOR)(proto)
    wrong = folder / "wrong.onnx"
    onnx.save(proto, wrong)
    candidate = Candidate(file.graph.model_copy(update={"path": wrong, "sha256": "0" * 64}))
    proof = validate(candidate, file.reference)
    assert proof.evidence.verdict == "fail"
    assert proof.defect is not None
    write_reproduction(proof.defect, folder / "reproduction", file="wrong.onnx")
    return folder / "reproduction"


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Path], "subprocess.CompletedProcess[str]"]:
    """A function that runs a folder's script from another folder."""

    def run_script(folder: Path) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-I", str(folder / "reproduce.py")]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    return run_script


def _copy(folder: Path, target: Path) -> Path:
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_the_script_shows_the_defect(
    reproduction: Path, run: Callable[[Path], "subprocess.CompletedProcess[str]"]
) -> None:
    """Run from anywhere it exits 1 and prints what was found, what was expected, and how far that is off."""
    result = run(reproduction)
    assert result.returncode == 1, result.stderr
    found, expected, difference = result.stdout.splitlines()[0], "expected", result.stdout.splitlines()[-1]
    assert found.startswith("found")
    assert expected in result.stdout
    assert difference.startswith("largest difference")
    assert float(difference.split()[-1]) > 1e-3


def test_the_script_is_content_with_the_right_weights(
    reproduction: Path, run: Callable[[Path], "subprocess.CompletedProcess[str]"], tmp_path: Path
) -> None:
    """Once culprit.onnx holds what the module holds, the script exits 0."""
    fixed = _copy(reproduction, tmp_path / "fixed")
    proto = onnx.load(fixed / "culprit.onnx")
    right = Classifier().head.weight.detach().numpy()
    tensor = next(t for t in proto.graph.initializer if t.name == "head.weight")
    assert np.allclose(numpy_helper.to_array(tensor), right * FACTOR)
    tensor.CopyFrom(numpy_helper.from_array(right, tensor.name))
    onnx.save(proto, fixed / "culprit.onnx")
    result = run(fixed)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_culprit_is_one_node_with_what_it_is_fed(reproduction: Path) -> None:
    """The file holds the node alone; the arrays are those of the probe at which the file was wrong."""
    proto = onnx.load(reproduction / "culprit.onnx")
    assert [node.op_type for node in proto.graph.node] == ["Gemm"]
    with np.load(reproduction / "inputs.npz") as inputs:
        assert len(inputs.files) == len(proto.graph.input) == 1
        num_rows = len(inputs["input_0"])
    with np.load(reproduction / "expected.npz") as file:
        assert file["expected"].shape == (num_rows, 5)


def test_the_script_needs_numpy_and_onnxruntime_only(reproduction: Path) -> None:
    """Whoever gets it has neither Assay nor PyTorch; the sentence says what is wrong."""
    script = (reproduction / "reproduce.py").read_text()
    imported = {line.split()[1] for line in script.splitlines() if line.startswith(("import ", "from "))}
    assert imported == {"numpy", "onnxruntime", "pathlib"}
    assert "wrong.onnx" in script
    assert "holds other values of head.weight" in script
