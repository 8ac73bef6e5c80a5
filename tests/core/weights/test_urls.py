"""What an address of weights says, and what of it may be recorded."""

import pytest

from tasks.core.errors import SpecError
from tasks.core.weights.urls import mirrored, split_part, split_url, without_query


@pytest.mark.parametrize(
    ("url", "name", "expected"),
    [
        ("https://h/a/net-7be5be79.pth", "net-7be5be79.pth", "7be5be79"),
        ("https://h/a/net_37f702c5.pth", "net_37f702c5.pth", "37f702c5"),
        ("https://h/a/net-20240315.pth", "net-20240315.pth", None),
        ("https://h/a/net.pth?sig=1#sha256=0123ABCD", "net.pth", "0123abcd"),
        ("https://h/a/net.pth", "net.pth", None),
    ],
)
def test_an_address_names_a_file_and_may_promise_a_hash(url: str, name: str, expected: str | None) -> None:
    """The hash is the fragment's, or torch.hub's in the name; eight digits of a date are none."""
    assert split_url(url) == (url.partition("#")[0], name, expected)


@pytest.mark.parametrize("url", ["https://host/", "https:///w.pth", "https://h/w.pth#md5=1", "https://[::1/w.pth"])
def test_what_names_no_file_is_refused(url: str) -> None:
    """In one sentence, without what may be a password."""
    with pytest.raises(SpecError) as caught:
        split_url(url.replace("//", "//me:hunter2@"))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("w.pth", ("w.pth", "")),
        ("w.pth#model_ema.module", ("w.pth", "model_ema.module")),
        ("folder/w#1.pth#ema", ("folder/w#1.pth", "ema")),
        ("https://h/w.pth?a=1", ("https://h/w.pth?a=1", "")),
        ("https://h/w.pth#ema", ("https://h/w.pth", "ema")),
        ("https://h/w.pth#sha256=0123abcd", ("https://h/w.pth#sha256=0123abcd", "")),
        ("https://h/w.pth#sha256=0123abcd&ema", ("https://h/w.pth#sha256=0123abcd", "ema")),
        ("https://h/w.pth#ema&sha256=0123abcd", ("https://h/w.pth#sha256=0123abcd", "ema")),
        ("models:/net@champion#ema", ("models:/net@champion", "ema")),
        ("#ema", ("#ema", "")),
    ],
)
def test_a_label_stands_behind_the_place(text: str, expected: tuple[str, str]) -> None:
    """Behind a file, a URI, or a URL, beside whose hash it may stand."""
    assert split_part(text) == expected
    if text.startswith("https"):
        assert split_url(text)[2] == ("0123abcd" if "sha256" in text else None)


def test_secrets_are_left_out() -> None:
    """User, password, query and fragment go; host and path stay."""
    assert without_query("https://me:pw@h:8/a/w.pth?token=t#sha256=01") == "https://h:8/a/w.pth"


def test_a_mirror_replaces_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path of the mirror's is put before; without a mirror nothing changes; what is no address is refused."""
    url = "https://download.pytorch.org/models/w.pth?x=1"
    monkeypatch.delenv("ASSAY_WEIGHTS_MIRROR", raising=False)
    assert mirrored(url) == url
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", "http://m:9/pytorch/")
    assert mirrored(url) == "http://m:9/pytorch/models/w.pth?x=1"
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", "mirror")
    with pytest.raises(SpecError, match="is no address"):
        mirrored(url)
