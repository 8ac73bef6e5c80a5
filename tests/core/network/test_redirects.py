"""Where a download may be sent on to, with a real proxy in the place of the internet."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.errors import ServiceError, WeightsError
from tasks.core.weights.download import fetch_to_cache
from tests.services.weights_server import WeightsServer, serve_outside, serve_weights

pytestmark = pytest.mark.usefixtures("caches")


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch, weights_server: WeightsServer) -> Iterator[WeightsServer]:
    """A proxy that answers for every host that is not on loopback; `weights_server` is on loopback."""
    with serve_outside(monkeypatch, "169.254.169.254", "10.0.0.7") as proxy:
        yield proxy


@pytest.mark.parametrize(
    "target", ["{inside}/net.pth", "http://169.254.169.254/latest/meta-data/net.pth", "http://10.0.0.7/net.pth",
               "http://[::1]:9/net.pth", "http://localhost:9/net.pth"]
)  # fmt: skip
def test_nobody_outside_chooses_an_address_inside(
    target: str, outside: WeightsServer, weights_server: WeightsServer, caches: Path
) -> None:
    """A public host that sends on to this machine, a cloud's metadata or a private network is not followed."""
    weights_server.put("/net.pth", b"inner")
    outside.redirect_to = target.format(inside=weights_server.address)
    with pytest.raises(WeightsError, match=r"^http://weights\.example/net\.pth sends on to .* nobody outside"):
        fetch_to_cache("http://weights.example/net.pth?key=s3cret")
    assert not weights_server.requests
    assert not [path for path in caches.rglob("*") if path.suffix == ".pth"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://weights.example/net.pth", "gopher://127.0.0.1/x"])
def test_only_http_is_followed(target: str, weights_server: WeightsServer) -> None:
    """From wherever."""
    weights_server.redirect_to = target
    with pytest.raises(WeightsError, match="which is no HTTP"):
        fetch_to_cache(weights_server.url("/net.pth"))


def test_other_ways_are_followed(weights_server: WeightsServer) -> None:
    """From this machine to this machine, where the user's own address is; a circle ends."""
    with serve_weights() as other:
        weights_server.redirect_to = other.put("/net.pth", b"content")
        assert fetch_to_cache(weights_server.url("/net.pth")).read_bytes() == b"content"
    weights_server.redirect_to = "/again.pth"
    with pytest.raises(ServiceError, match="could not be reached"):
        fetch_to_cache(weights_server.url("/circle.pth"))
