"""Every bad command line: status 2, one sentence of at most 500 characters, no traceback, nothing registered."""

import importlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from tasks.core.sentences import LONGEST
from tests.faults.bad_commands import COMPARE, EXPORT, SWEEP, VERIFY
from tests.faults.peak_memory import peak_below

ROOT = Path(__file__).parents[2]
NET = ROOT / "tests" / "models" / "tiny_models.py"
CASES = [
    (program, arguments, words)
    for program, cases in {"export": EXPORT, "verify": VERIFY, "sweep": SWEEP, "compare": COMPARE}.items()
    for arguments, words in cases
]
FILES = {
    "empty.py": b"",
    "broken.py": b"def (",
    "raising.py": b"raise ValueError('x' * 10**6)",
    "exiting.py": b"import sys; sys.exit('" + b"y" * 10_000 + b"')",
    "null.py": b"\x00",
    "w.pth": b"",
    "empty.onnx": b"",
    "deep.index.json": b"[" * 100_000,
    "list.index.json": b'{"weight_map": {"a": ["b"]}}',
    "lost.index.json": b'{"weight_map": {"a": "' + b"b" * 5000 + b'"}}',
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that are wrong."""
    made: Path = tmp_path_factory.mktemp("files")
    for name, content in FILES.items():
        (made / name).write_bytes(content)
    shutil.copy(NET, made / "net.py")
    return made


@pytest.fixture(scope="module", autouse=True)
def _nothing_registered(store: str) -> Iterator[None]:
    """After all of them the store is as empty as before; none of them takes 2 GiB of memory."""
    with peak_below(2 << 30):
        yield
    client = mlflow.MlflowClient(store)
    assert client.search_registered_models() == []
    assert client.search_runs(["1"]) == []


def test_there_are_enough() -> None:
    """Beside the bad files of the other tests."""
    assert len(CASES) >= 130


@pytest.mark.usefixtures("prefect_server", "imports_as_before")
@pytest.mark.parametrize(("program", "arguments", "words"), CASES, ids=lambda value: ascii(value)[:60])
def test_a_bad_command_line_gets_one_sentence_and_status_2(
    program: str,
    arguments: tuple[str, ...],
    words: str,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever is quoted in it."""
    monkeypatch.chdir(tmp_path)
    main = importlib.import_module(f"flows.command_line.{program}").main
    status = main(
        [argument.replace("{folder}", str(folder)).replace("{net}", f"{folder}/net.py") for argument in arguments]
    )
    printed = capsys.readouterr()
    assert status == 2, printed
    assert "Traceback" not in printed.out + printed.err
    lines = printed.err.strip().splitlines()
    assert len(lines) == 1 + ("w.pth" in arguments[-1] and program == "verify"), "one a file"
    for line in lines:
        assert line.startswith("error: ")
        assert words in line
        assert 20 < len(line) <= LONGEST + len("error: ")
        assert line.isprintable()
        assert "s3cret" not in line
        assert "defect" not in line
    assert (folder / "net.py").read_bytes() == NET.read_bytes()
