"""ONNX Runtime sessions."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch

from tasks.core.memory import give_back, given_back
from tasks.core.probes import Array

_LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class SessionError(Exception):
    """ONNX Runtime refused the file or the inputs; the caller makes a finding of it."""

    num_answered: int | None = None
    """How many inputs were answered before; None: the file itself was refused."""


def answers(
    path: Path, feeds: Iterable[Mapping[str, Array]], *, level: str = "all", threads: int | None = None
) -> list[list[Array]]:
    """What a file answers on the CPU to one input after another, outputs in the file's order.

    The session is gone afterwards: it holds the weights, and so does float64 of a large layer.

    Args:
        path: of the file.
        feeds: arrays by input name.
        level: of graph optimisation, `off` or `all`.
        threads: within an operator; None: as many as PyTorch has.

    Raises:
        SessionError: ONNX Runtime refuses the file or the inputs, or a kernel fails.
    """
    with given_back():
        session = _open(path, level=level, threads=threads)
    found: list[list[Array]] = []
    try:
        for arrays in feeds:
            found.append(_run(session, arrays))
    except SessionError as error:
        error.num_answered = len(found)
        raise
    finally:
        del session
        give_back()
    return found


def _open(path: Path, *, level: str, threads: int | None) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[level]
    options.enable_cpu_mem_arena = False  # it grows by powers of two, and keeps what the largest batch took
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 4  # what it finds wrong is raised, too
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes share no public base
        raise SessionError(_first_line(error)) from error


def _run(session: onnxruntime.InferenceSession, arrays: Mapping[str, Array]) -> list[Array]:
    wanted = {value.name for value in session.get_inputs()}
    try:
        found = session.run(None, {name: array for name, array in arrays.items() if name in wanted})
    except Exception as error:  # its exception classes share no public base
        raise SessionError(_first_line(error)) from error
    return [np.asarray(array) for array in found]


def _first_line(error: Exception) -> str:
    return " ".join(str(error).splitlines()[0].split())[:300] if str(error) else type(error).__name__
