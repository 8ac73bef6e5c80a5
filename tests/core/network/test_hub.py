"""Files of one commit of a model on the hub, from a real server on loopback that answers well or badly."""

import json
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from tasks.core.errors import AssayError, ServiceError, SpecError, WeightsError
from tasks.core.network.hub import HubModel, HubWeights, fetch_files, fetch_weights, hub_model, require_file
from tests.services.hub_server import HubServer
from tests.services.weights_server import WeightsServer, serve_outside

MAIN = HubModel(repo="org/net")
WEIGHTS = os.urandom(300_000)
FILES = {"config.json": b"{}", "model.safetensors": WEIGHTS, "pytorch_model.bin": b"pickle", "README.md": b"net"}


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightsServer]:
    """A proxy that answers for every host that is not on loopback."""
    with serve_outside(monkeypatch) as proxy:
        yield proxy


@pytest.mark.parametrize(
    ("text", "repo", "revision"),
    [
        ("org/net", "org/net", "main"),
        ("org/net@v1.2", "org/net", "v1.2"),
        ("o.g/n-e_t@refs/pr/3", "o.g/n-e_t", "refs/pr/3"),
    ],
)  # fmt: skip
def test_a_name_has_an_owner_and_may_have_a_revision(text: str, repo: str, revision: str) -> None:
    """Branches and pull requests have slashes."""
    assert hub_model(text) == HubModel(repo=repo, revision=revision)


@pytest.mark.parametrize(
    "text", ["net", "./org/net", "/org/net", "~/net", "a/b/c", "org/net@", "org/", "../net", "a/-b"]
)
def test_paths_are_no_names(text: str) -> None:
    """Of folders."""
    assert hub_model(text) is None


def test_only_what_is_needed_is_fetched_and_once(hub: HubServer) -> None:
    """Safetensors rather than pickles; a commit that is there is not asked for, a branch is, and says if it moved."""
    commit = hub.put("org/net", FILES)
    folder = fetch_files(MAIN, ["config.json"])
    assert folder.name == commit
    assert fetch_weights(HubWeights(model=MAIN)) == folder
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.fetched() == ["config.json", "model.safetensors"]
    hub.requests.clear()
    pinned = HubModel(repo="org/net", revision=commit)
    assert fetch_weights(HubWeights(model=pinned)) == fetch_files(pinned, ["config.json"]) == folder
    assert not hub.requests
    moved = hub.put("org/net", {**FILES, "config.json": b"[]"})
    assert fetch_files(MAIN, ["config.json"]).name == moved
    assert fetch_files(pinned, ["config.json"]) == folder


def test_other_weights(hub: HubServer) -> None:
    """Shards with their index; pickles where there is nothing else; of parts of a pipeline; a file by its name."""
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    shards = {
        "model.safetensors.index.json": json.dumps(index).encode(),
        **dict.fromkeys(index["weight_map"].values(), b"x"),
    }
    hub.put("org/shards", {**shards, "pytorch_model.bin": b"pickle"})
    hub.put(
        "org/old", {"pytorch_model.bin": b"pickle", "flax_model.msgpack": b"", "2_Dense/pytorch_model.bin": b"part"}
    )
    folder = fetch_weights(HubWeights(model=HubModel(repo="org/shards")))
    assert sorted(path.name for path in folder.iterdir()) == sorted(shards)
    folder = fetch_weights(HubWeights(model=HubModel(repo="org/old"), folders=("", "2_Dense/")))
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*")) == [
        "2_Dense/pytorch_model.bin", "pytorch_model.bin",
    ]  # fmt: skip
    hub.put("org/named", {"eva/l.pt": b"weights", "model.safetensors": b"others"})
    folder = fetch_weights(HubWeights(model=HubModel(repo="org/named"), files=("eva/l.safetensors", "eva/l.pt")))
    assert [path.name for path in folder.rglob("*.*")] == ["l.pt"]
    with pytest.raises(SpecError, match=r"org/named at main has no a\.pt, b\.pt"):
        fetch_weights(HubWeights(model=HubModel(repo="org/named"), files=("a.pt", "b.pt")))


def test_what_is_cut_is_resumed(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the last whole chunk, with the hash of the whole right."""
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 50_000)
    hub.put("org/net", FILES)
    hub.cut_after, hub.num_cuts = 100_000, 1
    folder = fetch_weights(HubWeights(model=MAIN))
    assert hub.ranges == ["bytes=100000-"]
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS


def test_a_download_tells_how_far_it_is(
    hub: HubServer,
    assay_log: list[logging.LogRecord],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """As other long steps do; the library's own bars and warnings are not shown."""
    monkeypatch.setattr("tasks.core.progress._SECONDS", 0.0)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.put("org/net", {"model.safetensors": os.urandom(2_000_000)})
    fetch_weights(HubWeights(model=MAIN))
    said = [record.getMessage() for record in assay_log if getattr(record, "progress", False)]
    assert said[0] == "0 MB fetched"
    assert said[-1] == "2 MB fetched"
    assert capfd.readouterr() == ("", "")


def test_what_comes_damaged_is_not_kept(hub: HubServer) -> None:
    """A file of the right size with other bytes is removed, and fetched again the next time."""
    hub.put("org/net", FILES)
    hub.flip = True
    with pytest.raises(ServiceError, match=r"model\.safetensors of org/net came damaged and was removed"):
        fetch_weights(HubWeights(model=MAIN))
    hub.flip = False
    assert (fetch_weights(HubWeights(model=MAIN)) / "model.safetensors").read_bytes() == WEIGHTS


@pytest.mark.parametrize(
    ("repo", "revision", "switches", "kind", "message"),
    [
        ("org/nought", "main", {}, SpecError, r"has no model org/nought, or .* only \(404\).* set HF_TOKEN"),
        ("org/net", "v9", {}, SpecError, r"org/net has no revision 'v9' at http://127.*; name a branch"),
        ("org/net", "0" * 40, {}, SpecError, "has no revision '0000"),
        ("org/net", "main", {"token": "hf_other"}, SpecError, r"no model org/net, or shows it to some only \(401\)"),
        ("org/net", "main", {"gated": True}, SpecError, r"org/net is gated at .*accept its terms"),
        ("org/net", "main", {"status": 403}, SpecError, r"asks for a token \(403\) for org/net; set HF_TOKEN"),
        ("org/net", "main", {"status": 503}, ServiceError, "answered with status 503 for org/net; try again later"),
        ("org/net", "main", {"status": 200}, ServiceError, r"does not answer as a hub does .*; check HF_ENDPOINT"),
        ("org/a--b", "main", {}, SpecError, "org/a--b is no name of a model"),
    ],
)  # fmt: skip
def test_what_the_hub_refuses_is_one_sentence(
    repo: str, revision: str, switches: dict[str, object], kind: type[AssayError], message: str, hub: HubServer
) -> None:
    """With what to do; bad input apart from a hub that is out of reach."""
    hub.put("org/net", FILES)
    vars(hub).update(switches)
    with pytest.raises(kind, match=message):
        fetch_files(HubModel(repo=repo, revision=revision), ["config.json"])


def test_a_token_opens_and_is_not_told(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own variable; a wrong one is said to be refused, and never quoted."""
    hub.put("org/net", FILES)
    hub.token = "hf_right"
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(SpecError, match="set HF_TOKEN to a token that may read it") as refused:
        fetch_files(MAIN, ["config.json"])
    assert "hf_wrong" not in str(refused.value)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert (fetch_files(MAIN, ["config.json"]) / "config.json").is_file()


def test_a_hub_out_of_reach_is_told_in_time(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens, or nobody answers, though the cache has an answer of earlier."""
    commit = hub.put("org/net", FILES)
    fetch_files(MAIN, ["config.json"])
    monkeypatch.setattr("tasks.core.network.hub.PATIENCE_SECONDS", 0.3)
    hub.hangs = True
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"could not be reached for org/net .*; check the network, HF_ENDPOINT"):
        fetch_files(MAIN, ["config.json"])
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:9 could not be reached"):
        fetch_files(MAIN, ["config.json"])
    assert time.monotonic() - started < 5
    assert fetch_files(HubModel(repo="org/net", revision=commit), ["config.json"]).name == commit


def test_offline_the_cache_is_taken(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """By branch, too; what it lacks is told, and nobody is asked."""
    commit = hub.put("org/net", FILES)
    fetch_files(MAIN, ["config.json"])
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    folder = fetch_files(MAIN, ["config.json"])
    assert folder.name == commit
    with pytest.raises(
        ServiceError, match=r"model\.safetensors of org/net at main is not in the cache .*/hub, and HF_HUB"
    ):
        fetch_weights(HubWeights(model=MAIN))
    with pytest.raises(ServiceError, match=r"^org/nought at main is not in the cache"):
        fetch_files(HubModel(repo="org/nought"), ["config.json"])
    with pytest.raises(ServiceError, match=r"modules\.json of org/net at main is not in the cache"):
        require_file(MAIN, folder, "modules.json")
    assert not hub.requests


def test_a_mirror_is_asked_instead(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """ASSAY_WEIGHTS_MIRROR where HF_ENDPOINT is not set; an address that is none is told without its password."""
    hub.put("org/net", FILES)
    monkeypatch.delenv("HF_ENDPOINT")
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", f"{hub.address}/")
    assert (fetch_files(MAIN, ["config.json"]) / "config.json").is_file()
    monkeypatch.setenv("HF_ENDPOINT", "ftp://user:s3cret@mirror")
    with pytest.raises(SpecError, match=r"HF_ENDPOINT=ftp://mirror is no address"):
        fetch_files(MAIN, ["config.json"])


def test_what_a_model_lacks_is_told(hub: HubServer) -> None:
    """Weights, or a file that it must have."""
    hub.put("org/empty", {"README.md": b"soon"})
    there = HubModel(repo="org/empty")
    with pytest.raises(SpecError, match=r"org/empty at main has no weights \(model.safetensors or pytorch_model.bin\)"):
        fetch_weights(HubWeights(model=there))
    with pytest.raises(SpecError, match=r"org/empty at main has no config\.json"):
        require_file(there, fetch_files(there, ["config.json"]), "config.json")


def test_a_hub_outside_sends_nobody_inside(
    hub: HubServer, outside: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any other download."""
    hub.put("org/net", FILES)
    close_session()  # it goes by no proxy
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example")
    outside.redirect_to = f"{hub.address}/api/models/org/net/revision/main"
    with pytest.raises(WeightsError, match=r"^http://hub\.example sends on to .* nobody outside may choose"):
        fetch_files(MAIN, ["config.json"])
    assert not hub.requests


def test_a_cache_that_cannot_be_written_is_told(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the variable that moves it."""
    hub.put("org/net", FILES)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    with pytest.raises(AssayError, match=r"The cache of the hub can't be written .*HF_HOME"):
        fetch_files(MAIN, ["config.json"])
