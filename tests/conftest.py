"""What all tests share: an MLflow store a module, a Prefect server a process, a slow-test switch."""

import contextlib
import json
import logging
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tasks.core.speed import budget
from tests.flows.in_process import Ran
from tests.models.real_models import SITE
from tests.services.browser import ABSENT, CHROMIUM, DRIVER, Browser
from tests.services.hub_server import HubServer, serve_hub
from tests.services.postgresql import Cluster, programs
from tests.services.postgresql import postgresql as start_postgresql
from tests.services.weights_server import WeightsServer, serve_weights

if TYPE_CHECKING:
    import mlflow

    from tasks.core.records.steps import ExportResult

_LONGEST = "test_commands.py"
"""Runs all of the README, one command after another."""
budget.MAX_TAKEN, budget.SECONDS = math.inf, 20.0  # tests run beside each other
# before anything imports Prefect, MLflow or PyTorch
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the commands have it
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as many tests as cores run at once, most of them on tiny models
os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
os.environ.setdefault("DO_NOT_TRACK", "true")
# a shell starts what stands before its `&` with Ctrl-C ignored, and processes started from there would ignore it, too
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --run-slow, and --require-optional for machines that must have a browser and real weights."""
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow, too")
    parser.addoption("--require-optional", action="store_true", help="fail where something optional is absent")


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """One process more than cores: many tests wait for servers, schedules and processes of their own."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is slow, unless asked for; then slow files come first, so that no process waits for one at the end."""
    if config.getoption("--run-slow"):
        slow = Counter(item.path for item in items if "slow" in item.keywords)
        items.sort(key=lambda item: (item.path.name != _LONGEST, -slow[item.path]))
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --run-slow"))


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """Command lines called in this process take Assay's logger over; the next test has it back."""
    logger = logging.getLogger("assay")
    level, propagates = logger.level, logger.propagate
    yield
    logger.setLevel(level)
    logger.propagate = propagates


@pytest.fixture(autouse=True)
def _untimed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No time is spent on how fast a file is, but by tests marked `timed` and by what modules of tests share."""
    if "timed" not in request.keywords:
        monkeypatch.setattr(budget, "SECONDS", 0.0)


@pytest.fixture(scope="module")
def store(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow store in SQLite of this module's own, for this process and its children; gives its tracking URI."""
    folder = tmp_path_factory.mktemp("store")
    shutil.copy(empty_store, folder)
    uri = f"sqlite:///{folder}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.setenv("_MLFLOW_SERVER_ARTIFACT_ROOT", str(folder / "mlruns"))
        import mlflow

        mlflow.set_tracking_uri(uri)
        client = mlflow.MlflowClient()
        client.create_experiment("onnx-exports", artifact_location=(folder / "mlruns").as_uri())
        yield uri


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The database of an empty tracking store, which takes seconds to make and none to copy."""
    import mlflow

    database = tmp_path_factory.mktemp("empty") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{database}").search_registered_models()
    return database


@pytest.fixture
def own_store(empty_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Iterator[mlflow.MlflowClient]":
    """A tracking store of this test's own, empty, for this process and its children; gives its client."""
    import mlflow

    shutil.copy(empty_store, tmp_path)
    uri, before = f"sqlite:///{tmp_path}/mlflow.db", mlflow.get_tracking_uri()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow.set_tracking_uri(uri)
    yield mlflow.MlflowClient(uri)
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Prefect server on loopback with a home of its own; gives its API address."""
    home: Path = tmp_path_factory.mktemp("prefect")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(home))
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        from flows.processes.temporary_server import TemporaryServer

        with temporary_settings({PREFECT_HOME: home}):
            server = TemporaryServer()
            server.start()
            try:
                with server.ready():
                    patch.setenv("PREFECT_API_URL", PREFECT_API_URL.value() or "")
                    yield PREFECT_API_URL.value() or ""
            finally:
                server.stop()


@pytest.fixture(scope="module")
def exported_digits(store: str, prefect_server: str) -> "ExportResult":
    """The catalog's `digits`, exported once through the flow into the store."""
    from flows.export import ExportSpec, export_model

    return export_model(ExportSpec(model="digits"))


@pytest.fixture(scope="module")
def start_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """A function that starts a Python module as a service on a free port of loopback, ended with the tests' module.

    It takes the module and its arguments, in which `{port}` is replaced, the path that answers when the
    service is ready, and what `subprocess.Popen` takes; it gives the service's address.
    """
    folder = tmp_path_factory.mktemp("services")
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, ready: str, **popen: object) -> str:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            log = folder / f"{arguments[0]}-{port}.log"
            command = [sys.executable, "-m", *(argument.replace("{port}", str(port)) for argument in arguments)]
            with log.open("w") as output:
                process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, **popen)  # type: ignore[call-overload]
            stack.callback(_stop, process)
            address = f"http://127.0.0.1:{port}"
            for _ in range(900):
                with contextlib.suppress(httpx.TransportError):
                    if httpx.get(address + ready).is_success:
                        return address
                if process.poll() is not None:
                    break
                time.sleep(0.1)
            pytest.fail(f"{' '.join(command)} did not start:\n{log.read_text()[-3000:]}")

        yield start


def _stop(process: "subprocess.Popen[bytes]") -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):  # the whole group: these services have children
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)


@pytest.fixture
def weights_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    """A real HTTP server on loopback."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve_weights() as server:
        yield server


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folders for downloads, and no mirror; gives the folder that holds `assay` and `torch`."""
    folder = tmp_path / "caches"
    monkeypatch.setenv("ASSAY_CACHE", str(folder / "assay"))
    monkeypatch.setenv("TORCH_HOME", str(folder / "torch"))
    monkeypatch.delenv("ASSAY_WEIGHTS_MIRROR", raising=False)
    return folder


@pytest.fixture
def hub(caches: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """A real hub on loopback, for this process and its children, with an empty cache and no token."""
    from huggingface_hub import close_session, constants

    close_session()  # one that was opened for other proxies
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_HOME", str(caches / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(caches / "hf" / "hub"))  # the library reads these at import
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(caches / "hf" / "token"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve_hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        yield server


@pytest.fixture
def assay_log() -> Iterator[list[logging.LogRecord]]:
    """All that Assay logs during the test, whatever displays or workers before it did to its logger."""
    records: list[logging.LogRecord] = []
    handler, logger = logging.Handler(), logging.getLogger("assay")
    handler.emit = records.append  # type: ignore[method-assign]
    level, disabled = logger.level, logger.disabled
    logger.disabled = False
    logger.setLevel(logging.DEBUG)
    logger.addHandler(handler)
    yield records
    logger.removeHandler(handler)
    logger.setLevel(level)
    logger.disabled = disabled


@pytest.fixture(scope="session")
def real_weights(request: pytest.FixtureRequest) -> None:
    """Skip where the packages with real weights are absent; fail where they are required."""
    if not SITE.is_dir():
        reason = "no real weights: run tests/real_weights.sh and set RW_SITE"
        (pytest.fail if request.config.getoption("--require-optional") else pytest.skip)(reason)


@pytest.fixture(scope="module")
def postgresql(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A PostgreSQL of this module's own; skips where it is not installed, and fails where it is required."""
    if programs() is None:
        reason = "no PostgreSQL: install Debian's package postgresql"
        (pytest.fail if request.config.getoption("--require-optional") else pytest.skip)(reason)
    with start_postgresql() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def browser(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser, where there is one."""
    if not (CHROMIUM and DRIVER):
        (pytest.fail if pytestconfig.getoption("--require-optional") else pytest.skip)(ABSENT)
    with Browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def imports_as_before() -> Iterator[None]:
    """Forget what a test imported."""
    from tasks.core.families import python
    from tasks.core.model import building

    modules, path, folders = dict(sys.modules), list(sys.path), list(python._folders)
    yield
    for name in [n for n in sys.modules.keys() - modules.keys() if python._place(sys.modules[n])]:
        del sys.modules[name]
    sys.modules.update(modules)
    sys.path[:] = path
    python._folders[:] = folders
    building._imported_by.clear()


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """A function that calls a command line's main with `--json`, in the test's own folder or another one."""

    def run(main: Callable[[list[str]], int], *arguments: str, cwd: Path = tmp_path) -> Ran:
        monkeypatch.chdir(cwd)
        status = main([*arguments, "--json", "out.json"])
        printed = capsys.readouterr()
        return Ran(status, json.loads((cwd / "out.json").read_text())["results"], (printed.out, printed.err))

    return run
