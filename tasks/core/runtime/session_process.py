"""The process in which ONNX Runtime runs files: it has neither PyTorch nor the module.

Started by `tasks.core.runtime.session_client`, which sends it `(number, verb, content)` over the socket whose file
descriptor is its argument:

    open   the arguments of `_opened`   -> None
    run    arrays by name               -> a list of arrays, of objects where NumPy has no dtype
    time   the same, a number of runs   -> the seconds that each of them took
    close  None                         -> None

and receives `(number, outcome, content)`: `done` and the above, or `refused` or `memory` and the reason.
"""

import re
import resource
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
from numpy.typing import NDArray

from tasks.core.errors import one_line
from tasks.core.memory_guard import free_bytes, limit_growth
from tasks.core.runtime.memory import freed_eagerly, release_free_memory

_FOLDER = "session.model_external_initializers_file_folder_path"
_LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_NO_MEMORY = ("bad_alloc", "Failed to allocate memory", "MemoryError", "Unable to allocate")
_OVERCOMMIT = Path("/proc/sys/vm/overcommit_memory")
"""2 there: Linux gives no memory that it may not have."""
_NUMPY_TYPES = re.compile(r"tensor\((float|float16|double|bool|string|u?int(8|16|32|64)|complex(64|128))\)")
_SOURCE = re.compile(r"/\S+\.(cc|h):\d+ .*?\)( const)? ")
"""Line and C++ signature, with which ONNX Runtime begins many of its messages."""


def main() -> None:
    """Answer until there is nobody to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a file that crashes it is found out without one
    connection: Any = Connection(int(sys.argv[1]))
    session = None
    try:
        connection.send((0, "done", None))
        while True:
            number, verb, content = connection.recv()
            try:
                found: Any = None
                if verb == "run":
                    found = _answer(session, content)
                elif verb == "time":
                    found = _seconds(session, *content)
                else:
                    session = None
                    release_free_memory()
                if verb == "open":
                    limit_growth(free_bytes())  # or a file that computes large values takes all there is
                    with freed_eagerly():
                        session = _opened(**content)
            except Exception as error:  # its exception classes share no public base
                said = _said(error)
                connection.send((number, "memory" if _is_out_of_memory(said) else "refused", said))
            else:
                connection.send((number, "done", found))
    except (EOFError, OSError):
        return


def _opened(
    model: str | bytes, *, folder: str | None, level: str, without: Sequence[str], threads: int, arena: bool
) -> onnxruntime.InferenceSession:
    """A session of a file, or of a serialised ModelProto whose sidecars are in `folder`, `without` some passes."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[level]
    options.enable_cpu_mem_arena = arena  # which grows by powers of two, and keeps what the largest batch took
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it finds wrong is raised, too
    if folder is not None:
        options.add_session_config_entry(_FOLDER, folder)
    providers = ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model, options, providers=providers, disabled_optimizers=list(without))


def _answer(session: Any, arrays: Mapping[str, Any]) -> list[NDArray[Any]]:
    names = {value.name for value in session.get_inputs()}
    outputs = {value.name: value.type for value in session.get_outputs()}
    wanted = [name for name, kind in outputs.items() if _NUMPY_TYPES.fullmatch(kind) or not kind.startswith("tensor")]
    given = session.run(wanted, {name: array for name, array in arrays.items() if name in names}) if wanted else []
    found = dict(zip(wanted, map(_array, given), strict=True))
    return [found.get(name, np.empty(0, object)) for name in outputs]


def _seconds(session: Any, arrays: Mapping[str, Any], num_runs: int) -> list[float]:
    names = {value.name for value in session.get_inputs()}
    feeds = {name: array for name, array in arrays.items() if name in names}
    found = []
    for _ in range(num_runs):
        started = time.perf_counter()
        session.run(None, feeds)
        found.append(time.perf_counter() - started)
    return found


def _array(value: Any) -> NDArray[Any]:
    if not isinstance(value, list):
        return np.asarray(value)
    objects = np.empty(len(value), object)
    for index, item in enumerate(value):  # assigned as a whole they would be broadcast
        objects[index] = item
    return objects


def _is_out_of_memory(said: str) -> bool:
    """Does a refusal mean that this machine lacks memory? Only absurd sizes are refused everywhere."""
    asked = re.search(r"buffer of size (\d+)", said)
    if asked and int(asked[1]) <= psutil.virtual_memory().total:
        return True
    is_limited = resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
    is_rationed = is_limited or (_OVERCOMMIT.exists() and _OVERCOMMIT.read_text().strip() == "2")
    return is_rationed and any(words in said for words in _NO_MEMORY)


def _said(error: Exception) -> str:
    said = _SOURCE.sub("", " ".join(str(error).split("\n\n")[0].split()))
    return one_line(said) or type(error).__name__


if __name__ == "__main__":
    main()
