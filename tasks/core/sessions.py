"""ONNX Runtime sessions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from tasks.core.probes import Array

_LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class SessionError(Exception):
    """ONNX Runtime refused the file or the inputs; the caller makes a finding of it."""


def open_session(path: Path, *, level: str = "all", threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a file on the CPU at a graph optimisation level, `off` or `all`, with as many threads as PyTorch has.

    Raises:
        SessionError: ONNX Runtime refuses the file.
    """
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[level]
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 4  # what it finds wrong is raised, too
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes share no public base
        raise SessionError(_first_line(error)) from error


def run(session: onnxruntime.InferenceSession, arrays: Mapping[str, Array]) -> list[Array]:
    """Run; return the outputs in the file's order.

    Raises:
        SessionError: ONNX Runtime refuses the inputs, or a kernel fails.
    """
    wanted = {value.name for value in session.get_inputs()}
    try:
        found = session.run(None, {name: array for name, array in arrays.items() if name in wanted})
    except Exception as error:  # its exception classes share no public base
        raise SessionError(_first_line(error)) from error
    return [np.asarray(array) for array in found]


def _first_line(error: Exception) -> str:
    return " ".join(str(error).splitlines()[0].split())[:300] if str(error) else type(error).__name__
