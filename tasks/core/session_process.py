"""The process in which ONNX Runtime runs files: it has neither PyTorch nor the module.

python -P -m tasks.core.session_process FILE_DESCRIPTOR OWNER

Started by `tasks.core.sessions`, which says over a socket what is to be opened (the arguments of `_opened`), then
gives one mapping of arrays after another, each answered by a list of arrays (of objects, where an output is a
sequence), then None. An answer that is a string says why there is none. The process ends when its owner does.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import onnxruntime

from tasks.core.memory import give_back, given_back

_FOLDER = "session.model_external_initializers_file_folder_path"
_LEVELS = {
    "off": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
_WATCH_SECONDS = 1.0


def main() -> None:
    """Open one session after another until there is nobody to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner
    connection: Any = Connection(int(sys.argv[1]))
    threading.Thread(target=_end_with, args=(int(sys.argv[2]),), daemon=True).start()
    try:
        connection.send(None)
        while True:
            _serve(connection, connection.recv())
            give_back()
    except (EOFError, OSError):
        return


def _serve(connection: Any, wanted: Mapping[str, Any]) -> None:
    try:
        with given_back():
            session = _opened(**wanted)
    except Exception as error:  # its exception classes share no public base
        connection.send(_said(error))
        return
    connection.send(None)
    names = {value.name for value in session.get_inputs()}
    while (arrays := connection.recv()) is not None:
        connection.send(_answer(session, {name: array for name, array in arrays.items() if name in names}))


def _opened(model: str | bytes, *, folder: str | None, level: str, threads: int) -> onnxruntime.InferenceSession:
    """A session of a file, or of a serialised ModelProto whose sidecars are in `folder`."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = _LEVELS[level]
    options.enable_cpu_mem_arena = False  # it grows by powers of two, and keeps what the largest batch took
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what it finds wrong is raised, too
    if folder is not None:
        options.add_session_config_entry(_FOLDER, folder)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _answer(session: onnxruntime.InferenceSession, arrays: Mapping[str, Any]) -> list[Any] | str:
    try:
        found = session.run(None, arrays)
        return [np.asarray(value, dtype=object if isinstance(value, list) else None) for value in found]
    except Exception as error:  # as above
        return _said(error)


def _said(error: Exception) -> str:
    return " ".join(str(error).splitlines()[0].split())[:300] if str(error) else type(error).__name__


def _end_with(owner: int) -> None:
    while os.getppid() == owner:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
