"""What the tests of the core share: a server of weights, and caches that start empty."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.core.weights_server import WeightsServer, serve_weights


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
