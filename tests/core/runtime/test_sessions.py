"""What ONNX Runtime's process answers: the same as ONNX Runtime here, to whoever asks, refusals included."""

import os
import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tasks.core.errors import CrashError
from tasks.core.runtime import sessions
from tests.core.runtime.small_files import BATCHES, constant, save, session_processes


@pytest.mark.parametrize("level", ["off", "all"])
def test_it_answers_as_onnx_runtime_does(tmp_path: Path, level: str) -> None:
    """The same numbers as a session in this process, for one batch after another; other names are left out."""
    weights = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    nodes = [
        constant("w", weights),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Erf", ["h"], ["y"]),
    ]
    path = save(tmp_path / "layers.onnx", nodes)
    feeds = [{"x": batch, "unknown": np.zeros(1)} for batch in BATCHES]
    here = onnxruntime.InferenceSession(path)
    for feed, (found,) in zip(feeds, sessions.answers(path, feeds, level=level), strict=True):
        np.testing.assert_allclose(found, here.run(None, {"x": feed["x"]})[0], rtol=1e-5)


def test_opening_a_file_sooner_changes_nothing(twice: Path, crashing: Path) -> None:
    """Within `opening` the same file, another one and the same again answer as ever, at another level, too."""
    with sessions.opening(twice):
        for level in ("all", "off", "all"):
            (found,) = sessions.answers(twice, [{"x": BATCHES[2]}], level=level)
            np.testing.assert_array_equal(found[0], 2 * BATCHES[2])
        ((divided,),) = sessions.answers(crashing, [{"x": np.array([4])}])
        np.testing.assert_array_equal(divided, [-4])
    with sessions.opening(crashing):
        pass  # and is not asked
    assert len(sessions.answers(twice, [])) == 0


def test_runs_are_timed_and_what_refuses_is_said(twice: Path) -> None:
    """As many runs as asked for, again and again; what does not fit is refused, and answers come as ever afterwards."""
    with sessions.timing(twice, {"x": BATCHES[2], "unknown": np.zeros(1)}) as run:
        assert [len(run(number)) for number in (1, 5)] == [1, 5]
        assert all(0 < seconds < 10 for seconds in run(3))
    unfit = {"x": np.zeros(3)}
    with pytest.raises(sessions.SessionError, match="input data type"), sessions.timing(twice, unfit) as run:
        run(1)
    ((found,),) = sessions.answers(twice, [{"x": BATCHES[1]}])
    np.testing.assert_array_equal(found, 2 * BATCHES[1])


def test_a_model_without_a_path_finds_its_sidecar(with_sidecar: Path) -> None:
    """Bytes, with a folder of sidecars."""
    model = with_sidecar.read_bytes()
    ((found,),) = sessions.answers(model, [{"x": 7 * BATCHES[0]}], folder=with_sidecar.parent)
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
    (before,) = session_processes()
    assert len(sessions.answers(twice, [{"x": batch} for batch in BATCHES])) == 3
    assert session_processes() == [before]


def test_what_numpy_lacks_is_objects(tmp_path: Path) -> None:
    """A sequence of unequal shapes, and a bfloat16."""
    parts = helper.make_node("SplitToSequence", ["x", "sizes"], ["parts"], axis=1)
    cast = helper.make_node("Cast", ["x"], ["short"], to=TensorProto.BFLOAT16)
    nodes = [constant("sizes", np.array([1, 2])), parts, cast, helper.make_node("Add", ["x", "x"], ["y"])]
    proto = onnx.load(save(tmp_path / "unusual.onnx", nodes))
    proto.graph.output.append(onnx.ValueInfoProto(name="parts"))
    proto.graph.output.append(onnx.ValueInfoProto(name="short"))
    ((doubled, split, short),) = sessions.answers(proto.SerializeToString(), [{"x": BATCHES[1]}])
    np.testing.assert_array_equal(doubled, 2 * BATCHES[1])
    assert [part.shape for part in split] == [(2, 1), (2, 2)]
    assert (short.dtype, short.size) == (object, 0)


@pytest.mark.parametrize(("num_bytes", "limited"), [(2**30, True), (2**50, False)])
def test_too_little_memory_is_not_the_files(num_bytes: int, limited: bool, tmp_path: Path) -> None:
    """What this process may not have says nothing about the file; what no machine has, does."""
    first = helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0)
    nodes = [constant("s", np.array([num_bytes // 4, 1])), first, helper.make_node("Expand", ["m", "s"], ["y"])]
    path = save(tmp_path / "large.onnx", nodes)
    assert len(sessions.answers(path, [])) == 0
    (child,) = session_processes()
    if limited:
        resource.prlimit(child.pid, resource.RLIMIT_AS, (child.memory_info().vms + 2**28, -1))
    with pytest.raises(CrashError if limited else sessions.SessionError, match=r"memory|alloc"):
        sessions.answers(path, [{"x": BATCHES[0]}])


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
