"""Services on loopback are reached without the proxy that the environment names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.services.weights_server import WeightsServer

PROJECT = Path(__file__).resolve().parents[2]
_ASK = """
import subprocess, sys
import flows
ASK = "import sys, httpx, requests; print(httpx.get(sys.argv[1]).text, requests.get(sys.argv[1]).text)"
exec(ASK)
sys.stdout.flush()
subprocess.run([sys.executable, "-c", ASK, sys.argv[1]], check=True)
"""


@pytest.mark.parametrize(
    "environment",
    [
        {"http_proxy": "http://127.0.0.1:9"},
        {"HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "intra.example"},
        {"ALL_PROXY": "http://127.0.0.1:9", "no_proxy": "*"},
    ],
    ids=str,
)
def test_loopback_never_goes_through_the_proxy(environment: dict[str, str], weights_server: WeightsServer) -> None:
    """By httpx, as Prefect asks, and by requests, as MLflow does; here and in a child."""
    url = weights_server.put("/health", b"well")
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    ran = subprocess.run(
        [sys.executable, "-c", _ASK, url], cwd=PROJECT, env=kept | environment, capture_output=True, text=True
    )
    assert ran.stdout.split() == ["well"] * 4, ran.stderr


def test_what_was_listed_stays() -> None:
    """Both spellings have all of it; without a proxy nothing is set."""
    program = "import os, flows; print(os.environ.get('no_proxy'), os.environ.get('NO_PROXY'))"
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    for given, expected in (
        ({"https_proxy": "http://proxy:1", "NO_PROXY": "a,localhost"}, "a,localhost,127.0.0.1,::1"),
        ({}, "None"),
    ):
        ran = subprocess.run(
            [sys.executable, "-c", program], cwd=PROJECT, env=kept | given, capture_output=True, text=True
        )
        assert ran.stdout.split() == [expected] * 2
