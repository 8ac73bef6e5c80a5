"""`hf:ORG/NAME[@REVISION]` and timm's pretrained weights, from a real server on loopback that speaks the hub's API."""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg

from flows.command_line.listing import model_lines
from tasks.core.errors import AssayError, SpecError, WeightsError
from tasks.core.families import timm as family
from tasks.core.families.transformers import TransformersFamily
from tasks.core.model.building import build_with_weights
from tasks.core.network.hub import _models_in, cached_models
from tasks.core.provenance.manifest import changes, make_manifest
from tasks.core.spec.resolve import check, check_files, make_spec, resolve
from tasks.core.weights.sources import find_weights, same_weights
from tests.models.tiny_transformers import bert, sentences
from tests.services.hub_server import HubServer
from tests.services.weights_server import WeightsServer

CODE = """
from transformers import BertConfig, BertForSequenceClassification
class OwnConfig(BertConfig):
    model_type = "own"
class OwnBert(BertForSequenceClassification):
    config_class = OwnConfig
"""
WITHOUT_WEIGHTS = "timm:botnet50ts_256"
NORM = {"scale": "weight", "bias": "bias"}
AUTO_MAP = {"AutoConfig": "own.OwnConfig", "AutoModelForSequenceClassification": "own.OwnBert"}


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder, by path inside it."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def built(model: str, **fields: Any) -> tuple[Any, Any, Any, Any]:
    """The spec, the record of its weights, the module, and the report of its loading."""
    spec = resolve(make_spec(model=model, **fields))
    check(spec)
    weights = find_weights(spec, lambda uri: pytest.fail(uri))
    return spec, weights, *build_with_weights(spec, weights)


def test_a_model_is_pinned_to_its_commit(hub: HubServer, tmp_path: Path) -> None:
    """The commit is in the spec, the record and what decides a version; who comes again fetches nothing."""
    model = bert(tmp_path / "bert")
    commit = hub.put("org/tiny.bert", files_of(tmp_path / "bert"), branch="v1")
    spec, weights, module, report = built("hf:org/tiny.bert@v1")
    assert (spec.model, spec.name, spec.weights) == (f"hf:org/tiny.bert@{commit}", "tiny_bert", "DEFAULT")
    assert json.loads(spec.canonical_json())["model"] == spec.model
    assert weights.origin == f"org/tiny.bert@{commit}"
    assert report.source_files == {}
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in module.state_dict().items())
    assert sorted(hub.fetched()) == ["config.json", "model.safetensors"]
    hub.requests.clear()
    again = resolve(make_spec(model=spec.model))
    check(again)
    assert again == spec
    assert same_weights(again, None)
    assert not hub.requests
    shutil.rmtree(tmp_path / "caches" / "hf")  # lost: only what says what the model is comes again
    check(resolve(make_spec(model="hf:org/tiny.bert@v1")))
    assert hub.fetched() == ["config.json"]


@pytest.mark.parametrize("form", ["shards", "pickle", "code"])
def test_weights_come_in_every_form(form: str, hub: HubServer, tmp_path: Path) -> None:
    """In shards with their index; as `torch.save` wrote them, where they hold values only."""
    model = bert(tmp_path / "bert")
    if form == "shards":
        model.save_pretrained(tmp_path / "bert", max_shard_size="20KB")
    else:
        state = model.state_dict()
        torch.save(state if form == "pickle" else {**state, "more": os.system}, tmp_path / "bert" / "pytorch_model.bin")
    if form != "shards":
        (tmp_path / "bert" / "model.safetensors").unlink()
    hub.put("org/tiny", files_of(tmp_path / "bert"))
    if form == "code":
        with pytest.raises(WeightsError, match=r"pytorch_model\.bin"):
            built("hf:org/tiny")
        return
    _, weights, module, _ = built("hf:org/tiny")
    assert weights.path is not None
    assert weights.path.name == {"shards": "model.safetensors.index.json", "pickle": "pytorch_model.bin"}[form]
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in module.state_dict().items())


def test_a_moved_branch_is_told(hub: HubServer, tmp_path: Path) -> None:
    """As a change from one commit to another, also where a card alone is new; another model is another model."""
    bert(tmp_path / "bert")
    files = files_of(tmp_path / "bert")
    manifests = []
    for card in (b"first", b"second"):
        commit = hub.put("org/tiny", {**files, "README.md": card})
        spec, weights, _, report = built("hf:org/tiny")
        manifests.append((commit, make_manifest(spec, weights, report)))
    (old, before), (new, now) = manifests
    (change,) = changes(before, now)
    assert change.name == "commit of org/tiny"
    assert (change.before, change.now) == (f"hf:org/tiny@{old}", f"hf:org/tiny@{new}")
    hub.put("org/other", files)
    spec, weights, _, report = built("hf:org/other")
    assert [change.name for change in changes(now, make_manifest(spec, weights, report))] == ["spec.model", "spec.name"]


def test_a_folder_comes_first(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the same name is meant, as the library itself has it."""
    bert(tmp_path / "org" / "tiny")
    hub.put("org/tiny", {"config.json": b"{}"})
    monkeypatch.chdir(tmp_path)
    assert resolve(make_spec(model="hf:org/tiny")).model == f"hf:{tmp_path}/org/tiny"
    assert not hub.requests


def test_what_is_wrong_is_one_sentence(hub: HubServer, tmp_path: Path) -> None:
    """No config, weights that lack a part, a task that it can't have: told by the model's name."""
    bert(tmp_path / "bert")
    hub.put("org/tiny", files_of(tmp_path / "bert"))
    hub.put("org/card", {"README.md": b"nothing else"})
    for model, fields, message in (
        ("hf:org/card", {}, r"org/card at main has no config\.json"),
        ("hf:org/tiny", {"task": "question-answering"}, "missing from the weights of org/tiny: qa_outputs"),
        ("hf:org/tiny", {"task": "image-classification"}, "org/tiny is a bert"),
        ("hf:a/b/c", {}, r"There is no file .*a/b/c/config\.json; .* hf:FOLDER, hf:ORG/NAME\[@REVISION\]"),
    ):
        with pytest.raises(AssayError, match=message):
            built(model, **fields)


def test_a_pipeline_comes_whole(hub: HubServer, tmp_path: Path) -> None:
    """With its modules and tokenizer; ids go to the same embedding as from the folder."""
    local = sentences(tmp_path / "tiny")
    hub.put("org/sentences", {**files_of(tmp_path / "tiny"), "onnx/model.onnx": b"theirs", "README.md": b"card"})
    _, _, module, _ = built("hf:org/sentences")
    ids = torch.tensor([[5, 6, 7, 0], [8, 9, 5, 6]])
    fed = {"input_ids": ids, "attention_mask": ids.ne(0).long()}
    assert torch.equal(module(dict(fed))["sentence_embedding"], local(dict(fed))["sentence_embedding"])
    assert not {"model.onnx", "README.md"} & set(hub.fetched())


@pytest.fixture
def own_modules(imports_as_before: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of this test's own, where transformers copies code that comes with a model."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))


@pytest.mark.usefixtures("own_modules")
@pytest.mark.parametrize("at_hub", [True, False])
def test_code_of_the_models_own_is_run_where_it_is_trusted(at_hub: bool, hub: HubServer, tmp_path: Path) -> None:
    """Else it is one sentence that names the option, before PyTorch is needed; with it the record says so."""
    folder = tmp_path / f"own_{at_hub}"
    bert(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "model_type": "own", "architectures": ["OwnBert"], "auto_map": AUTO_MAP})
    )
    (folder / "own.py").write_text(CODE)
    hub.put("org/own", files_of(folder))
    model = "hf:org/own" if at_hub else f"hf:{folder}"
    with pytest.raises(SpecError, match=r"runs code of its own \(auto_map in config\.json\); .* --trust-remote-code"):
        check_files(resolve(make_spec(model=model)))
    spec, _, module, report = built(model, trust_remote_code=True)
    assert type(module).__name__ == "OwnBert"
    assert "code of the model's own is run (--trust-remote-code): OwnBert" in report.notes
    assert '"trust_remote_code": true' in spec.canonical_json()
    assert at_hub or str(folder / "own.py") in report.source_files
    assert type(built(model, trust_remote_code=True, task="text-classification")[2]).__name__ == "OwnBert"
    _, _, module, report = built(model, trust_remote_code=True, weights="random")
    assert any("--trust-remote-code" in note for note in report.notes)
    bert(tmp_path / "other")
    _, _, _, report = built(f"hf:{tmp_path}/other")
    assert [Path(path).name for path in report.source_files] == ["config.json"]


def test_trust_is_asked_for_wherever_there_is_code(hub: HubServer, tmp_path: Path) -> None:
    """In a module of a pipeline and its tokenizer; what is no model of transformers has nothing to trust."""
    sentences(tmp_path / "tiny")
    files = files_of(tmp_path / "tiny")
    parts = json.loads(files["modules.json"])
    for name, changed, said in (
        ("modules.json", [*parts, {**parts[-1], "type": "own.Part"}], r"own\.Part in modules\.json"),
        ("tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["own.T", None]}}, "auto_map in tokenizer_config"),
    ):
        hub.put("org/tiny", {**files, name: json.dumps(changed).encode()})
        with pytest.raises(SpecError, match=rf"^org/tiny runs code of its own \({said}"):
            built("hf:org/tiny")
    for model in ("alexnet", "timm:test_vit", "digits"):
        with pytest.raises(SpecError, match="--trust-remote-code is for models of transformers"):
            check_files(resolve(make_spec(model=model, trust_remote_code=True)))


@pytest.mark.usefixtures("own_modules")
@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("modules.json", "{", {}, r"org/tiny/modules\.json is no JSON"),
        ("modules.json", '["Pooling"]', {}, r"org/tiny/modules\.json is no list of modules"),
        ("own.py", "1 / 0", {"trust_remote_code": True}, r"org/tiny names own\.OwnBert, which can't be loaded"),
        ("own.py", "", {"trust_remote_code": True}, r"org/tiny names own\.OwnBert, which can't be loaded"),
    ],
)
def test_what_is_broken_is_told(
    name: str, content: str, fields: dict[str, Any], message: str, hub: HubServer, tmp_path: Path
) -> None:
    """A list of modules that is none, code that raises or lacks the class."""
    bert(tmp_path / "bert")
    files = files_of(tmp_path / "bert")
    own = {**json.loads(files["config.json"]), "architectures": ["OwnBert"]}
    own["auto_map"] = {"AutoModelForSequenceClassification": "own.OwnBert"}
    if name == "own.py":
        files["config.json"] = json.dumps(own).encode()
    hub.put("org/tiny", {**files, name: content.encode()})
    with pytest.raises(AssayError, match=message):
        built("hf:org/tiny", **fields)


def test_the_install_line_is_named(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the hub's library is not there; what is listed does without."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SpecError, match=r"needs transformers, which is not installed; pip install -e '\.\[hf\]'"):
        resolve(make_spec(model="hf:org/tiny"))
    assert cached_models() == frozenset()


def test_a_catalog_is_listed_without_asking(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in it may be on the hub; `--list` says so and touches no network."""
    entries = {"hubby": {"model": "hf:org/tiny"}, "husky": {"model": "hf:org/tiny", "weights": "/no.safetensors"}}
    for module in ("flows.command_line.listing", "tasks.core.spec.resolve"):
        monkeypatch.setattr(f"{module}.read_catalog", lambda: entries)
    _, hubby, husky = model_lines("hu[bs]*")
    assert "online" in hubby
    assert "missing" in husky
    assert not hub.requests
    for repo in ("org--tiny", "timm--test_vit.r160_in1k"):
        weights = Path(constants.HF_HUB_CACHE, f"models--{repo}", "snapshots", "0" * 40, "model.safetensors")
        weights.parent.mkdir(parents=True)
        weights.touch()
    _models_in.cache_clear()
    assert "here" in list(model_lines("hubby"))[1]
    assert "here" in list(model_lines("timm:test_vit.*"))[1]
    assert "online" in list(model_lines("timm:resnet18.a1_in1k"))[1]
    assert "yours" in list(model_lines(WITHOUT_WEIGHTS))[1]
    assert "ORG/NAME\\[@REVISION]" in list(model_lines("*"))[-1]


def put_timm(hub: HubServer, tmp_path: Path, name: str) -> Mapping[str, torch.Tensor]:
    """Serve weights of a model of timm as timm publishes them; gives them."""
    torch.manual_seed(1)
    state = timm.create_model(name).state_dict()
    save_file(state, tmp_path / "model.safetensors")
    hub.put(f"timm/{name}", {"model.safetensors": (tmp_path / "model.safetensors").read_bytes(), "config.json": b"{}"})
    return state


def test_timms_own_weights_come_from_the_hub(hub: HubServer, tmp_path: Path) -> None:
    """As the default, also of a name without its tag; the commit is recorded, and asked for each time."""
    state = put_timm(hub, tmp_path, "test_vit.r160_in1k")
    spec, weights, module, _ = built("timm:test_vit")
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    assert weights.origin == f"timm/test_vit.r160_in1k@{hub.refs['timm/test_vit.r160_in1k']['main']}"
    assert weights.kind == "timm"
    assert not same_weights(spec, weights.file_sha256)
    hub.requests.clear()
    assert find_weights(spec, lambda uri: pytest.fail(uri)) == weights
    assert hub.fetched() == []
    _, _, module, _ = built("timm:test_vit", kwargs={"num_classes": 0})
    assert "head.weight" not in module.state_dict()
    hub.put("timm/clip", {"open_clip_model.safetensors": (tmp_path / "model.safetensors").read_bytes()})
    config = get_pretrained_cfg("test_vit.r160_in1k")
    config.hf_hub_id, config.hf_hub_filename = "timm/clip", "open_clip_pytorch_model.bin"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family, "_pretrained_config", lambda name: config)
        found = find_weights(spec, lambda uri: pytest.fail(uri))
    assert (found.path.name, found.tensors_sha256) == ("open_clip_model.safetensors", weights.tensors_sha256)
    with pytest.raises(WeightsError, match="tell 1000 classes, and a head for 7 would have random ones"):
        built("timm:test_vit", kwargs={"num_classes": 7})


def googles_form(state: Mapping[str, torch.Tensor], num_heads: int) -> dict[str, np.ndarray]:
    """Weights of a ViT as Google publishes them, an .npz of Flax."""
    flax = {"cls": state["cls_token"], "Transformer/posembed_input/pos_embedding": state["pos_embed"]}
    flax |= {"embedding/kernel": state["patch_embed.proj.weight"].permute(2, 3, 1, 0)}
    flax |= {"embedding/bias": state["patch_embed.proj.bias"]}
    flax |= {"head/kernel": state["head.weight"].T, "head/bias": state["head.bias"]}
    flax |= {f"Transformer/encoder_norm/{name}": state[f"norm.{key}"] for name, key in NORM.items()}
    for block in range(sum(key.endswith("norm1.weight") for key in state)):
        there, here = f"Transformer/encoderblock_{block}/", f"blocks.{block}."
        for name, key in NORM.items():
            flax[f"{there}LayerNorm_0/{name}"] = state[f"{here}norm1.{key}"]
            flax[f"{there}LayerNorm_2/{name}"] = state[f"{here}norm2.{key}"]
        for dense in (0, 1):
            flax[f"{there}MlpBlock_3/Dense_{dense}/kernel"] = state[f"{here}mlp.fc{dense + 1}.weight"].T
            flax[f"{there}MlpBlock_3/Dense_{dense}/bias"] = state[f"{here}mlp.fc{dense + 1}.bias"]
        attention, width = f"{there}MultiHeadDotProductAttention_1/", state["cls_token"].shape[-1]
        for index, name in enumerate(("query", "key", "value")):
            weight, bias = (
                state[f"{here}attn.qkv.{w}"][index * width : (index + 1) * width] for w in ("weight", "bias")
            )
            flax[f"{attention}{name}/kernel"] = weight.T.reshape(width, num_heads, -1)
            flax[f"{attention}{name}/bias"] = bias.reshape(num_heads, -1)
        flax[f"{attention}out/kernel"] = state[f"{here}attn.proj.weight"].T.reshape(num_heads, -1, width)
        flax[f"{attention}out/bias"] = state[f"{here}attn.proj.bias"]
    return {key: value.numpy() for key, value in flax.items()}


def test_timms_weights_at_a_url_are_downloaded_here(
    hub: HubServer, weights_server: WeightsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And loaded as timm does: what it reads itself, and what only the model's own code can read."""
    torch.manual_seed(2)
    model = timm.create_model("test_vit")
    state = {key: value.detach() for key, value in model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "vit.pth")
    np.savez(tmp_path / "vit.npz", **googles_form(state, model.blocks[0].attn.num_heads))
    config = get_pretrained_cfg("test_vit.r160_in1k")
    monkeypatch.setattr(family, "_pretrained_config", lambda name: config)
    config.hf_hub_id = None
    for file in ("vit.pth", "vit.npz"):
        config.url = weights_server.put(f"/{file}", (tmp_path / file).read_bytes())
        _, weights, module, _ = built("timm:test_vit")
        assert weights.origin == config.url
        assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    with pytest.raises(WeightsError, match="timm:test_vit has no weights 'V2'; give DEFAULT"):
        built("timm:test_vit", weights="V2")
    config.hf_hub_id = "timm/"
    with pytest.raises(WeightsError, match="are at 'timm/', which is no model of the hub"):
        built("timm:test_vit")
    config.hf_hub_id, config.url = None, ""
    with pytest.raises(WeightsError, match="timm has no weights of timm:test_vit; give a file or random"):
        built("timm:test_vit")
    assert not hub.requests


def test_a_folder_of_the_cache_is_called_by_its_model(hub: HubServer, tmp_path: Path) -> None:
    """Never by its commit."""
    bert(tmp_path / "bert")
    hub.put("org/tiny", {**files_of(tmp_path / "bert"), "config.json": b"{"})
    with pytest.raises(SpecError, match=r"^org/tiny/config\.json is no JSON"):
        resolve(make_spec(model="hf:org/tiny"))
    assert TransformersFamily().text_of("hf:org/tiny@v1") == "hf:org/tiny@v1"
