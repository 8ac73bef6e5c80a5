"""Files come whole, checked and once; what is wrong leaves one sentence and nothing else."""

import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tasks.core.errors import ServiceError, SpecError, WeightsError
from tasks.core.hashes import file_sha256
from tasks.core.weights.download import fetch_to_cache, fetch_to_file, keep_in_cache
from tasks.core.weights.folders import weights_files
from tasks.core.weights.urls import mirrored, split_url, without_query
from tests.services.weights_server import WeightsServer

CONTENT = bytes(range(256)) * 4096
"""1 MiB."""
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[::-1]
NAMED = f"/models/net-{SHA256[:8]}.pth"
SECRETS = ("s3cret", "hunter2", "t0ken")

pytestmark = pytest.mark.usefixtures("caches")


def fetch(url: str) -> tuple[Path, str]:
    """Fetch as `--weights URL` does."""
    path = fetch_to_cache(url)
    return path, file_sha256(path)


def files_in(folder: Path) -> list[str]:
    """Names of the files that hold something."""
    return sorted(p.name for p in folder.rglob("*") if p.is_file() and p.suffix not in (".lock", ".json"))


def test_fetches_once_where_the_hash_is_known(weights_server: WeightsServer, caches: Path) -> None:
    """A file whose hash its name states is fetched once; afterwards no server is asked."""
    url = weights_server.put(NAMED, CONTENT)
    first, second = fetch(url), fetch(url)
    assert first == second
    assert first[0].read_bytes() == CONTENT
    assert first[1] == SHA256
    assert first[0].name == f"net-{SHA256[:8]}.pth"
    assert len(weights_server.requests) == 1


def test_asks_whether_an_unnamed_file_changed(weights_server: WeightsServer) -> None:
    """Without a known hash the server is asked by ETag, and 304 means the file at hand."""
    url = weights_server.put("/net.pth", CONTENT)
    first = fetch(url)
    assert fetch(url) == first
    assert [r.if_none_match is not None for r in weights_server.requests] == [False, True]


def test_sees_that_a_file_changed(weights_server: WeightsServer) -> None:
    """A new file at an old address is fetched, and the old one stays under its own hash."""
    url = weights_server.put("/net.pth", CONTENT)
    old, _ = fetch(url)
    weights_server.put("/net.pth", OTHER)
    new, sha256 = fetch(url)
    assert new.read_bytes() == OTHER
    assert sha256 == hashlib.sha256(OTHER).hexdigest()
    assert old.read_bytes() == CONTENT


def test_works_with_a_server_without_etags(weights_server: WeightsServer) -> None:
    """A server that knows neither ETag nor Range gives the file all the same, also after a cut."""
    weights_server.etags = weights_server.ranges = False
    weights_server.cut_after, weights_server.num_cuts = 70_000, 1
    url = weights_server.put("/net.pth", CONTENT)
    assert fetch(url)[1] == SHA256
    assert fetch(url)[1] == SHA256


@pytest.mark.parametrize("cut_after", [1, 100_000, len(CONTENT) - 1])
def test_resumes_after_a_cut(weights_server: WeightsServer, cut_after: int) -> None:
    """After a cut only the rest is asked for, and the whole is right."""
    weights_server.cut_after, weights_server.num_cuts = cut_after, 1
    path, sha256 = fetch(weights_server.put(NAMED, CONTENT))
    assert (path.read_bytes(), sha256) == (CONTENT, SHA256)
    assert [r.range for r in weights_server.requests] == [None, f"bytes={cut_after}-"]
    assert weights_server.requests[1].if_range is not None


def test_resumes_more_than_once(weights_server: WeightsServer) -> None:
    """A line that breaks four times still delivers."""
    weights_server.cut_after, weights_server.num_cuts = 200_000, 4
    assert fetch(weights_server.put(NAMED, CONTENT))[1] == SHA256
    assert len(weights_server.requests) == 5


@pytest.mark.parametrize("name", [NAMED, "/net.pth"])
def test_a_cut_before_the_first_byte_gives_no_empty_file(weights_server: WeightsServer, name: str) -> None:
    """A connection that ends behind the headers is tried again, not taken for an empty or unchanged file."""
    weights_server.cut_after, weights_server.num_cuts = 0, 2
    assert fetch(weights_server.put(name, CONTENT))[1] == SHA256
    assert all(r.if_none_match is None for r in weights_server.requests)


@pytest.mark.parametrize("ignore_if_range", [False, True])
def test_starts_again_where_the_file_changed_in_between(weights_server: WeightsServer, ignore_if_range: bool) -> None:
    """A file that is replaced between cut and resumption is fetched whole, even from a server that breaks the rules."""
    weights_server.cut_after, weights_server.num_cuts = 100_000, 1
    weights_server.swap_after_cut = OTHER
    weights_server.ignore_if_range = ignore_if_range
    path, _ = fetch(weights_server.put("/net.pth", CONTENT))
    assert path.read_bytes() == OTHER


def test_a_line_that_keeps_breaking_is_a_service_error(weights_server: WeightsServer, caches: Path) -> None:
    """When the resumptions are used up the service is to blame, and no part stays."""
    weights_server.cut_after, weights_server.num_cuts = 1000, 100
    with pytest.raises(ServiceError, match="give a local file"):
        fetch(weights_server.put(NAMED, CONTENT))
    assert len(weights_server.requests) == 6
    assert files_in(caches) == []


@pytest.mark.parametrize("fault", ["other bytes", "truncated", "web page", "fragment"])
def test_refuses_a_wrong_hash(weights_server: WeightsServer, caches: Path, fault: str) -> None:
    """Bytes that do not have the stated hash are refused in one sentence with the file's name, and removed."""
    url = weights_server.put(NAMED, OTHER if fault == "other bytes" else CONTENT)
    weights_server.truncate_to = 5000 if fault == "truncated" else None
    weights_server.html = fault == "web page"
    url += "#sha256=" + "0" * 64 if fault == "fragment" else ""
    with pytest.raises(WeightsError, match=rf"SHA-256 of net-{SHA256[:8]}.pth is .* does not start with") as caught:
        fetch(url)
    assert "\n" not in str(caught.value)
    assert files_in(caches) == []
    weights_server.files[NAMED], weights_server.truncate_to, weights_server.html = CONTENT, None, False
    assert fetch(url.partition("#")[0])[1] == SHA256  # and nothing blocks the next try


def test_refuses_a_cached_file_that_was_changed(weights_server: WeightsServer) -> None:
    """A file that was altered in the cache is refused and removed; the next try fetches it anew."""
    url = weights_server.put(NAMED, CONTENT)
    path, _ = fetch(url)
    path.write_bytes(OTHER)
    with pytest.raises(WeightsError, match="damaged"):
        fetch(url)
    assert not path.exists()
    assert fetch(url)[1] == SHA256


def test_a_damaged_index_is_no_obstacle(weights_server: WeightsServer, caches: Path) -> None:
    """What a crash left of the cache's notes is ignored."""
    url = weights_server.put("/net.pth", CONTENT)
    fetch(url)
    for index in caches.rglob("*.json"):
        index.write_text('{"sha2')
    assert fetch(url)[1] == SHA256


def test_checks_a_file_that_is_already_there(weights_server: WeightsServer, tmp_path: Path) -> None:
    """A file at the target is hashed rather than fetched, and a wrong one does not stay to be used."""
    url, target = weights_server.put(NAMED, CONTENT), tmp_path / Path(NAMED).name
    target.write_bytes(CONTENT)
    assert fetch_to_file(url, tmp_path, variable="V") == target
    assert weights_server.requests == []
    target.write_bytes(OTHER)
    with pytest.raises(WeightsError, match="does not start with"):
        fetch_to_file(url, tmp_path, variable="V")
    assert not target.exists()


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, ServiceError), (503, ServiceError), (429, ServiceError), (404, WeightsError), (403, WeightsError)],
)  # fmt: skip
def test_a_status_tells_whose_fault_it_is(
    weights_server: WeightsServer, caches: Path, status: int, error: type[Exception]
) -> None:
    """A server in trouble may be asked again; a file that it does not give is the wrong weights."""
    weights_server.status = status
    with pytest.raises(error, match=rf"/net\.pth answered with status {status}: give a local file") as caught:
        fetch(weights_server.put("/net.pth", CONTENT))
    assert type(caught.value) is error
    assert files_in(caches) == []


def test_a_refused_connection_is_a_service_error() -> None:
    """A host that does not listen is a service out of reach."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ServiceError, match="could not be reached"):
        fetch(f"http://127.0.0.1:{port}/net.pth")


def test_endless_redirects_are_a_service_error(weights_server: WeightsServer) -> None:
    """A redirect to itself ends in one sentence."""
    weights_server.redirect_to = "/net.pth"
    with pytest.raises(ServiceError, match="redirect"):
        fetch(weights_server.put("/net.pth", CONTENT))


def test_a_cache_that_cannot_be_written_is_one_sentence(
    weights_server: WeightsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache in an impossible place is named, with the variable that sets it."""
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="ASSAY_CACHE"):
        fetch(weights_server.put("/net.pth", CONTENT))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/alexnet-owt-7be5be79.pth", "7be5be79"),
        ("https://h/resnet50_fbgemm_bf931949.pth", "bf931949"),
        ("https://h/mnasnet0.5_top1_67.823-3ffadce67e.pth", "3ffadce67e"),
        ("https://h/efficientnet-lite0-57934424.pth", "57934424"),
        ("https://h/net.pth#sha256=ABCDEF0123", "abcdef0123"),
        ("https://h/net-7be5be79.pth#sha256=abcdef0123", "abcdef0123"),
        ("https://h/resnet-20240315.pth", None),
        ("https://h/net.pth", None),
        ("https://h/net-v2.pth", None),
        ("https://h/net-abc.pth", None),
    ],
)
def test_the_hash_comes_from_fragment_or_name(url: str, expected: str | None) -> None:
    """The fragment states the hash, else the name does as torch.hub writes it; a date is no hash."""
    assert split_url(url)[2] == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://h/net.pth#sha256=xyz",
        "https://h/net.pth#sha256=abc",
        "https://h/net.pth#md5=0123456789abcdef",
        "https://h/",
        "https://h",
        "https:///net.pth",
        "http://[::1/net.pth",
        "http://user:hunter2@h:port/net.pth",
        "https://h/..",
    ],
)
def test_a_malformed_address_is_one_sentence(url: str) -> None:
    """What can't be an address of weights is refused before anything is asked, without repeating a password."""
    with pytest.raises(SpecError) as caught:
        split_url(url)
    assert "hunter2" not in str(caught.value)


def test_a_mirror_replaces_scheme_and_host(weights_server: WeightsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror's scheme, host and leading path replace the original's; path and query stay."""
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", f"{weights_server.address}/mirror/")
    weights_server.put(f"/mirror{NAMED}", CONTENT)
    assert fetch(f"https://download.example.org{NAMED}?v=1")[1] == SHA256
    assert [r.path for r in weights_server.requests] == [f"/mirror{NAMED}?v=1"]


def test_a_mirror_gets_no_password_of_the_original(
    weights_server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """User and password are for the host that the user named, not for its mirror."""
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", weights_server.address)
    weights_server.put(NAMED, CONTENT)
    fetch(f"https://me:hunter2@download.example.org{NAMED}")
    assert weights_server.requests[0].authorization is None


def test_a_mirror_that_is_no_address_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror that can't be one is named with its variable, without its password."""
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", "ftp://me:hunter2@mirror")
    with pytest.raises(SpecError, match="ASSAY_WEIGHTS_MIRROR") as caught:
        mirrored("https://h/net.pth")
    assert "hunter2" not in str(caught.value)


def test_credentials_are_sent_but_never_shown(
    weights_server: WeightsServer, assay_log: list[logging.LogRecord], caches: Path
) -> None:
    """User, password and query reach the server and appear in no message, log of ours, or file name."""
    secret = weights_server.put("/net.pth", CONTENT).replace("//", "//s3cret:hunter2@") + "?sig=t0ken"
    fetch(secret)
    assert weights_server.requests[0].authorization is not None
    assert weights_server.requests[0].path == "/net.pth?sig=t0ken"
    weights_server.status = 403
    with pytest.raises(WeightsError) as refused:
        fetch(secret + "&again")
    weights_server.status, weights_server.truncate_to = None, 10
    with pytest.raises(WeightsError) as damaged:
        fetch(secret + "&wrong#sha256=00000000")
    shown = [str(refused.value), str(damaged.value), without_query(secret), *map(str, caches.rglob("*"))]
    shown += [*(record.getMessage() for record in assay_log), *(p.read_text() for p in caches.rglob("*.json"))]
    assert not [s for s in SECRETS for text in shown if s in text]


def test_two_processes_fetch_a_file_once(weights_server: WeightsServer, caches: Path) -> None:
    """Two processes that want one file at the same time download it once, and neither sees half of it."""
    weights_server.delay_seconds = 0.5
    url = weights_server.put(NAMED, CONTENT)
    script = (
        "import sys\n"
        "from tasks.core.hashes import file_sha256\n"
        "from tasks.core.weights.download import fetch_to_cache\n"
        "path = fetch_to_cache(sys.argv[1])\n"
        "print(path.stat().st_size, file_sha256(path))\n"
    )
    command = [sys.executable, "-c", script, url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) for _ in range(2)]
    seen = [process.communicate(timeout=60)[0].split() for process in processes]
    assert seen == [[str(len(CONTENT)), SHA256]] * 2
    assert len(weights_server.requests) == 1


def test_a_half_written_target_is_never_seen(weights_server: WeightsServer, tmp_path: Path) -> None:
    """While a download runs the target does not exist; then it is whole."""
    weights_server.delay_seconds = 0.3
    url, target = weights_server.put("/net.pth", CONTENT), tmp_path / "net.pth"
    thread = threading.Thread(target=lambda: fetch_to_file(url, tmp_path, variable="V"))
    thread.start()
    sizes = set()
    while thread.is_alive():
        sizes.add(target.stat().st_size if target.exists() else 0)
    thread.join()
    assert sizes <= {0, len(CONTENT)}
    assert target.read_bytes() == CONTENT


def test_what_a_library_fetched_is_moved_into_the_cache(caches: Path, tmp_path: Path) -> None:
    """A file, or an index with its shards, once for each content; shards that lack are said."""
    for folder in ("first", "second"):
        place = tmp_path / folder
        place.mkdir()
        (place / "net.pth").write_bytes(CONTENT)
        for number in (1, 2):
            (place / f"model-0000{number}-of-00002.safetensors").write_bytes(CONTENT[:number])
        weight_map = {f"w{number}": f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}
        (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    kept = [keep_in_cache(tmp_path / folder / "net.pth") for folder in ("first", "second")]
    assert kept[0] == kept[1]
    assert file_sha256(kept[0]) == SHA256
    indices = [keep_in_cache(tmp_path / folder / "model.safetensors.index.json") for folder in ("first", "second")]
    assert indices[0] == indices[1]
    assert [file.read_bytes() for file in weights_files(indices[0])] == [CONTENT[:1], CONTENT[:2]]
    assert files_in(tmp_path / "first") == files_in(tmp_path / "second") == []
    assert files_in(caches) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "net.pth"]
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(WeightsError, match="shards that are not there"):
        keep_in_cache(tmp_path / "model.safetensors.index.json")
