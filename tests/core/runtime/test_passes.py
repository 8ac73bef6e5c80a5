"""The names of ONNX Runtime's optimisation passes are those of the installed version, and are honoured."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from onnx import helper

from tasks.core.runtime import sessions
from tasks.core.runtime.passes import LEVELS, PASSES
from tests.core.runtime.small_files import constant, save

_REQUIRED = (
    "CastFloat16Transformer",
    "FuseFp16InitializerToFp32NodeTransformer",
    "MemcpyTransformer",
    "RemoveDuplicateCastTransformer",
)
"""Transformers that run at every level: a graph would not run without them."""
_SHOWN = """
import sys, onnxruntime
options = onnxruntime.SessionOptions()
options.log_severity_level = 0
onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
"""


def test_each_pass_that_the_installed_version_applies_is_known(tmp_path: Path) -> None:
    """A session that logs everything names its transformers; those that apply rewrite rules stand for these."""
    path = save(tmp_path / "relu.onnx", [helper.make_node("Relu", ["x"], ["y"])])
    said = subprocess.run([sys.executable, "-c", _SHOWN, str(path)], capture_output=True, text=True, check=True).stderr
    applied = set(re.findall(r"GraphTransformer (\w+) modified", said))
    assert len(applied) > 30
    assert {name for name in applied if not name.endswith("_RuleBasedTransformer")} <= {*PASSES, *_REQUIRED}


def test_no_pass_is_known_that_the_installed_version_lacks() -> None:
    """Each name is among the texts of its library."""
    (folder,) = find_spec("onnxruntime").submodule_search_locations  # type: ignore[union-attr, misc]
    (library,) = Path(folder, "capi").glob("onnxruntime_pybind11_state*")
    content = library.read_bytes()
    names = (name.removesuffix("_CPUExecutionProvider") for name in PASSES)
    assert [name for name in names if name.encode() not in content] == []


def test_what_is_left_out_is_not_applied(tmp_path: Path) -> None:
    """LayerNormFusion takes any power for a square: at every level it is seen by the answer, but without the pass."""
    nodes = [
        constant("last", np.array([-1])),
        constant("four", np.array(4, np.float32)),
        constant("small", np.array(1e-5, np.float32)),
        constant("gain", np.ones(3, np.float32)),
        constant("shift", np.zeros(3, np.float32)),
        helper.make_node("ReduceMean", ["x", "last"], ["mean"]),
        helper.make_node("Sub", ["x", "mean"], ["d"]),
        helper.make_node("Pow", ["d", "four"], ["power"]),
        helper.make_node("ReduceMean", ["power", "last"], ["spread"]),
        helper.make_node("Add", ["spread", "small"], ["sum"]),
        helper.make_node("Sqrt", ["sum"], ["root"]),
        helper.make_node("Div", ["d", "root"], ["even"]),
        helper.make_node("Mul", ["even", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["y"]),
    ]
    path = save(tmp_path / "norm.onnx", nodes)
    feeds = [{"x": np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)}]
    ((right,),) = sessions.answers(path, feeds, level="off")
    for level in LEVELS[1:]:
        ((fused,),) = sessions.answers(path, feeds, level=level)
        assert not np.allclose(fused, right, atol=1e-2)
        ((apart,),) = sessions.answers(path, feeds, level=level, without=["LayerNormFusionL1", "LayerNormFusionL2"])
        np.testing.assert_allclose(apart, right, rtol=1e-5)
