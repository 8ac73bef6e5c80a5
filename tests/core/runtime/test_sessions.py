"""ONNX Runtime's process: what it answers, what becomes of a file that crashes it, and that nothing is left behind."""

import contextlib
import linecache
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import psutil
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tasks.core.arrays import Array
from tasks.core.errors import CrashError
from tasks.core.runtime import sessions
from tests.core.proof.proving import exported

DEATH_SECONDS = 10.0
BATCHES = [np.full((rows, 3), rows, np.float32) for rows in (1, 2, 3)]


def save(path: Path, nodes: list[onnx.NodeProto], kind: int, *, external: bool = False) -> Path:
    """A file with one input `x` and one output `y`."""
    weight = numpy_helper.from_array(np.arange(2048, dtype=np.float32), "w")
    shape = [None, 3] if kind == TensorProto.FLOAT else [None]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [weight] if external else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path, save_as_external_data=external, location="w.data")
    return path


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It doubles."""
    return save(tmp_path_factory.mktemp("files") / "twice.onnx", [helper.make_node("Add", ["x", "x"], ["y"])], 1)


@pytest.fixture(scope="module")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A loop of 2**62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, None),
        ],
    )
    rounds = helper.make_node("Constant", [], ["n"], value=numpy_helper.from_array(np.array(2**62)))
    yes = helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True)))
    loop = helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=body)
    return save(tmp_path_factory.mktemp("files") / "endless.onnx", [rounds, yes, loop], 1)


@pytest.fixture(scope="module")
def slow_to_open(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its constant folding takes half a minute."""
    size = helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array([4000, 4000])))
    one = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(1e-3, np.float32)))
    nodes = [size, one, helper.make_node("Expand", ["c", "s"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{i}", f"m{i}"], [f"m{i + 1}"]) for i in range(60)]
    nodes += [helper.make_node("ReduceMax", ["m60"], ["r"], keepdims=0), helper.make_node("Add", ["x", "r"], ["y"])]
    return save(tmp_path_factory.mktemp("files") / "slow.onnx", nodes, TensorProto.FLOAT)


@pytest.fixture(scope="module")
def crashing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """It divides integers by -1: at the smallest one the processor raises SIGFPE, and ONNX Runtime does not look."""
    minus = helper.make_node("Constant", [], ["m"], value=numpy_helper.from_array(np.array([-1])))
    divided = helper.make_node("Div", ["x", "m"], ["y"], name="divided")
    return save(tmp_path_factory.mktemp("files") / "crashing.onnx", [minus, divided], TensorProto.INT64)


def children() -> list[psutil.Process]:
    """ONNX Runtime's processes of this one."""
    return [c for c in psutil.Process().children() if "tasks.core.runtime.session_process" in c.cmdline()]


def is_alive(pid: int) -> bool:
    """Does a process run?"""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def await_death(child: psutil.Process) -> None:
    """Wait for the end of a child, and leave it to its owner to ask how."""
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)


def sending(sent: signal.Signals) -> Iterator[dict[str, Array]]:
    """Two inputs; before the second the process gets a signal."""
    yield {"x": BATCHES[0]}
    (child,) = children()
    child.send_signal(sent)
    await_death(child)
    yield {"x": BATCHES[1]}


@pytest.mark.parametrize("level", ["off", "all"])
def test_it_answers_as_onnx_runtime_does(tmp_path: Path, level: str) -> None:
    """The same numbers as a session in this process, for one batch after another; other names are left out."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    path = exported(network, ("x=float32[batch,3,8,8]",), tmp_path).graph.path
    feeds = [{"x": np.full((rows, 3, 8, 8), 0.5, np.float32), "unknown": np.zeros(1)} for rows in (1, 2)]
    here = onnxruntime.InferenceSession(path)
    for feed, (found,) in zip(feeds, sessions.answers(path, feeds, level=level), strict=True):
        np.testing.assert_allclose(found, here.run(None, {"x": feed["x"]})[0], rtol=1e-5)


def test_opening_a_file_sooner_changes_nothing(twice: Path, crashing: Path) -> None:
    """Within `opening` the same file, another one and the same again answer as ever, at another level, too."""
    with sessions.opening(twice):
        for level in ("all", "off", "all"):
            (found,) = sessions.answers(twice, [{"x": BATCHES[2]}], level=level)
            np.testing.assert_array_equal(found[0], 2 * BATCHES[2])
        ((halved,),) = sessions.answers(crashing, [{"x": np.array([4])}])
        np.testing.assert_array_equal(halved, [-4])
    with sessions.opening(crashing):
        pass  # and is not asked
    assert len(sessions.answers(twice, [])) == 0


def test_a_model_without_a_path_finds_its_sidecar(tmp_path: Path) -> None:
    """Bytes, with a folder of sidecars."""
    path = save(tmp_path / "big.onnx", [helper.make_node("Gather", ["w", "i"], ["y"])], 1, external=True)
    proto = onnx.load(path, load_external_data=False)
    proto.graph.node.insert(0, helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64))
    ((found,),) = sessions.answers(proto.SerializeToString(), [{"x": 7 * BATCHES[0]}], folder=tmp_path)
    np.testing.assert_array_equal(found, [[7, 7, 7]])


def test_what_is_refused_is_said(twice: Path, tmp_path: Path) -> None:
    """A file that is none, and an input that does not fit; how many were answered, and it goes on."""
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no")
    with pytest.raises(sessions.SessionError, match=r"broken.onnx") as refused:
        sessions.answers(broken, [{"x": BATCHES[0]}])
    assert refused.value.num_answered is None
    proto = onnx.load(twice)
    proto.opset_import[0].version = 99
    with pytest.raises(sessions.SessionError, match=r"opset 99 is under development|[Oo]pset 99") as unknown:
        sessions.answers(proto.SerializeToString(), [{"x": BATCHES[0]}])
    assert "onnxruntime_src" not in str(unknown.value)
    with pytest.raises(sessions.SessionError, match=r"[Ii]nvalid") as unfit:
        sessions.answers(twice, [{"x": BATCHES[0]}, {"x": np.zeros((1, 4), np.float32)}])
    assert unfit.value.num_answered == 1
    (before,) = children()
    assert len(sessions.answers(twice, [{"x": batch} for batch in BATCHES])) == 3
    assert children() == [before]


def test_a_crash_is_the_files(twice: Path, crashing: Path) -> None:
    """A real SIGFPE of a kernel, and a SIGSEGV: one sentence, what was answered before, and the next file runs."""
    with pytest.raises(sessions.SessionError, match=r"^its process was killed by SIGFPE \(signal 8\)") as crash:
        sessions.answers(crashing, [{"x": np.array([1])}, {"x": np.array([-(2**63)])}])
    assert crash.value.num_answered == 1
    with pytest.raises(sessions.SessionError, match="SIGSEGV"):
        sessions.answers(twice, sending(signal.SIGSEGV))
    ((found,),) = sessions.answers(twice, [{"x": BATCHES[0]}])
    np.testing.assert_array_equal(found, 2 * BATCHES[0])


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_from_outside_is_not(twice: Path, sent: signal.Signals) -> None:
    """It says nothing about the file."""
    with pytest.raises(CrashError, match=f"was killed by {sent.name}"):
        sessions.answers(twice, sending(sent))
    assert len(sessions.answers(twice, [{"x": BATCHES[0]}])) == 1


def test_it_is_started_again_after_it_died_idle(twice: Path) -> None:
    """Nobody waited for it then."""
    sessions.prepare()
    (child,) = children()
    child.kill()
    await_death(child)
    assert len(sessions.answers(twice, [{"x": BATCHES[0]}])) == 1


def test_a_process_that_cannot_start_is_one_sentence(twice: Path, tmp_path: Path) -> None:
    """Here its ONNX Runtime raises on import."""
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('no libonnxruntime.so')\n")
    program = (
        "from pathlib import Path\nfrom tasks.core import sessions\nfrom tasks.core.errors import CrashError\n"
        f"try: sessions.answers(Path({str(twice)!r}), [{{}}])\nexcept CrashError as error: print(error)"
    )
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[3]}{os.pathsep}{tmp_path}"}
    said = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60)
    assert "could not be started: its process ended with status 1: ImportError: no libonnx" in said.stdout, said.stderr


def test_an_interrupted_caller_gets_no_old_answer(twice: Path, endless: Path) -> None:
    """Ctrl-C while it computes: that answer never comes, and the next one is the next one's."""
    started = time.monotonic()
    previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 1.0)
    try:
        with pytest.raises(KeyboardInterrupt):
            sessions.answers(endless, [{"x": BATCHES[0]}])
    finally:
        signal.signal(signal.SIGALRM, previous)
    assert time.monotonic() - started < DEATH_SECONDS
    ((found,),) = sessions.answers(twice, [{"x": BATCHES[1]}])
    np.testing.assert_array_equal(found, 2 * BATCHES[1])


@pytest.mark.slow
def test_an_interruption_at_any_line_mixes_up_no_answers(twice: Path) -> None:
    """Ctrl-C at each line in turn: the next answer is the next one's, and comes."""
    line, finished = 0, False
    while not finished:
        line += 1
        with _interrupted_at(line):
            try:
                with sessions.opening(twice):
                    sessions.answers(twice, [{"x": batch} for batch in BATCHES[:2]])
                finished = True
            except KeyboardInterrupt:
                pass
        found = sessions.answers(twice, [{"x": BATCHES[2]}, {"x": BATCHES[0]}])
        np.testing.assert_array_equal(found[0][0], 2 * BATCHES[2], err_msg=f"line {line}")
        np.testing.assert_array_equal(found[1][0], 2 * BATCHES[0], err_msg=f"line {line}")
    assert line > 50


@contextlib.contextmanager
def _interrupted_at(number: int) -> Iterator[None]:
    """Raise KeyboardInterrupt where the n-th line of sessions.py is to run."""
    lines = iter(range(1, number + 1))

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename != sessions.__file__:
            return None
        is_code = linecache.getline(sessions.__file__, frame.f_lineno).strip() != "try:"  # where Python never looks
        if event == "line" and is_code and next(lines, None) == number:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def test_an_interrupted_caller_does_not_wait_until_a_file_is_open(twice: Path, slow_to_open: Path) -> None:
    """It gets away at once, and so does the next file."""
    sessions.answers(twice, [])
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), sessions.opening(slow_to_open):
        raise KeyboardInterrupt
    sessions.answers(twice, [{"x": BATCHES[0]}])
    assert time.monotonic() - started < DEATH_SECONDS / 2


def test_what_numpy_lacks_is_objects(tmp_path: Path) -> None:
    """A sequence of unequal shapes, and a bfloat16."""
    parts = helper.make_node("SplitToSequence", ["x", "sizes"], ["parts"], axis=1)
    sizes = helper.make_node("Constant", [], ["sizes"], value=numpy_helper.from_array(np.array([1, 2])))
    cast = helper.make_node("Cast", ["x"], ["short"], to=TensorProto.BFLOAT16)
    path = save(tmp_path / "unusual.onnx", [sizes, parts, cast, helper.make_node("Add", ["x", "x"], ["y"])], 1)
    proto = onnx.load(path)
    proto.graph.output.append(onnx.ValueInfoProto(name="parts"))
    proto.graph.output.append(onnx.ValueInfoProto(name="short"))
    ((doubled, split, short),) = sessions.answers(proto.SerializeToString(), [{"x": BATCHES[1]}])
    np.testing.assert_array_equal(doubled, 2 * BATCHES[1])
    assert [part.shape for part in split] == [(2, 1), (2, 2)]
    assert (short.dtype, short.size) == (object, 0)


@pytest.mark.parametrize(("num_bytes", "limited"), [(2**30, True), (2**50, False)])
def test_too_little_memory_is_not_the_files(num_bytes: int, limited: bool, tmp_path: Path) -> None:
    """What this process may not have says nothing about the file; what no machine has, does."""
    shape = helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array([num_bytes // 4, 1])))
    first = helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0)
    path = save(tmp_path / "large.onnx", [shape, first, helper.make_node("Expand", ["m", "s"], ["y"])], 1)
    assert len(sessions.answers(path, [])) == 0
    (child,) = children()
    if limited:
        resource.prlimit(child.pid, resource.RLIMIT_AS, (child.memory_info().vms + 2**28, -1))
    with pytest.raises(CrashError if limited else sessions.SessionError, match=r"memory|alloc"):
        sessions.answers(path, [{"x": BATCHES[0]}])


@pytest.mark.parametrize(
    "end",
    [
        pytest.param("sys.exit()", marks=pytest.mark.slow),
        pytest.param("os._exit(0)", marks=pytest.mark.slow),
        "os.kill(os.getpid(), signal.SIGKILL)",
    ],
)
def test_it_ends_with_its_owner(endless: Path, end: str) -> None:
    """However that ends, and even while it computes."""
    program = (
        "import os, signal, sys, threading, time\nfrom pathlib import Path\nimport numpy as np\n"
        "from tasks.core import sessions\n"
        f"ask = lambda: sessions.answers(Path({str(endless)!r}), [{{'x': np.ones((1, 3), np.float32)}}])\n"
        "threading.Thread(target=ask, daemon=True).start()\ntime.sleep(2)\n"
        f"print(sessions._process._process.pid, flush=True)\n{end}\n"
    )
    owner = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE,
                           text=True, timeout=60)  # fmt: skip
    deadline = time.monotonic() + DEATH_SECONDS
    while is_alive(int(owner.stdout)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_fork_has_one_of_its_own(twice: Path) -> None:
    """Two processes that talk to one would get each other's answers."""
    sessions.prepare()
    pid = os.fork()
    if pid == 0:
        ((found,),) = sessions.answers(twice, [{"x": BATCHES[0]}])
        os._exit(0 if np.array_equal(found, 2 * BATCHES[0]) else 1)
    answers = [sessions.answers(twice, [{"x": batch}])[0][0] for batch in BATCHES]
    assert os.waitpid(pid, 0)[1] == 0
    assert all(np.array_equal(found, 2 * batch) for found, batch in zip(answers, BATCHES, strict=True))


def test_threads_take_turns(twice: Path) -> None:
    """Each gets its own answers."""

    def right(rows: int) -> bool:
        batch = np.full((rows, 3), rows, np.float32)
        with sessions.opening(twice):
            ((found,),) = sessions.answers(twice, [{"x": batch}])
        return np.array_equal(found, 2 * batch)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(right, range(1, 41)))
