"""A spec is filled from the catalog, from its family and from the working directory, in that order, once."""

import functools
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect import flow
from pydantic import TypeAdapter, ValidationError
from torch import nn

from tasks.core.errors import AssayError, SpecError, WeightsError
from tasks.core.paths import CATALOG_FILE, PROJECT_FOLDER
from tasks.core.spec.export_spec import ExportSpec, ResolvedSpec
from tasks.core.spec.resolve import check, make_spec, read_catalog, resolve


@pytest.fixture
def write_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that puts another catalog in the place of the project's."""

    def write(entries: dict[str, Any]) -> None:
        (tmp_path / "catalog.yaml").write_text(yaml.safe_dump(entries))
        monkeypatch.setattr(
            "tasks.core.spec.resolve.read_catalog", functools.partial(read_catalog, tmp_path / "catalog.yaml")
        )

    return write


def test_an_entry_comes_before_torchvision(write_catalog: Any) -> None:
    """A catalog entry named like a torchvision model is what that name means."""
    write_catalog({"alexnet": {"model": "resnet18", "opset": 18}})
    spec = resolve(ExportSpec(model="alexnet"))
    assert (spec.model, spec.name, spec.opset, spec.weights) == ("resnet18", "alexnet", 18, "DEFAULT")
    assert resolve(ExportSpec(model="resnet50")).opset == 20


def test_a_folder_of_an_entry_lies_in_the_project(
    write_catalog: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hf:./folder` is relative to the project, wherever the command is called; a model of the hub stays what it is."""
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text('{"model_type": "bert"}')
    monkeypatch.setattr("tasks.core.spec.resolve.PROJECT_FOLDER", tmp_path)
    write_catalog({"mine": {"model": "hf:./bert"}, "theirs": {"model": "hf:org/bert", "weights": "random"}})
    assert resolve(ExportSpec(model="mine")).model == f"hf:{tmp_path}/bert"
    assert resolve(ExportSpec(model="theirs"), pins=False).model == "hf:org/bert"


def test_an_entry_without_a_model_adds_to_torchvision(write_catalog: Any) -> None:
    """An entry may only say how to export the torchvision model of its name."""
    write_catalog({"alexnet": {"outputs": ["logits"]}})
    spec = resolve(ExportSpec(model="alexnet"))
    assert (spec.model, spec.outputs) == ("alexnet", ("logits",))


def test_what_is_given_comes_before_the_entry(write_catalog: Any) -> None:
    """Options win over the entry, field by field."""
    write_catalog({"net": {"model": "alexnet", "weights": "random", "opset": 18, "outputs": ["a"]}})
    spec = resolve(ExportSpec(model="net", weights="random:7", opset=19, name="mine"))
    assert (spec.weights, spec.opset, spec.name, spec.outputs) == ("random:7", 19, "mine", ("a",))


def test_a_form_that_posts_every_default_changes_nothing(write_catalog: Any) -> None:
    """Prefect's form sends every field; a value equal to its field's default counts as not given."""
    write_catalog({"net": {"model": "alexnet", "weights": "random", "opset": 18, "inputs": ["x=float32[2,3,64,64]"]}})
    asked = ExportSpec(model="net")
    posted = ExportSpec(**{name: getattr(asked, name) for name in ExportSpec.model_fields})
    assert resolve(posted) == resolve(asked)
    assert resolve(posted).opset == 18


def test_a_resolved_spec_stays_as_it_is(write_catalog: Any) -> None:
    """A resolved spec is resolved again at other doors; another entry must not slip in then."""
    write_catalog({"small": {"model": "alexnet", "weights": "random"},
                   "alexnet": {"model": "resnet18", "outputs": ["logits"], "opset": 17}})  # fmt: skip
    for model in ("small", "alexnet", "resnet50", nn.Linear(2, 2)):
        once = resolve(ExportSpec(model=model))
        assert resolve(once) is once


def test_a_resolved_spec_passes_processes_and_prefect_as_itself(write_catalog: Any) -> None:
    """Pickled, validated as a parameter of type ExportSpec, or given to a flow: it stays resolved."""
    write_catalog({})
    once = resolve(ExportSpec(model="alexnet", weights="random", sample="s.npz"))

    @flow
    def export(spec: ExportSpec) -> None:
        """A flow that takes what a user asks for."""

    again = [pickle.loads(pickle.dumps(once)), TypeAdapter(ExportSpec).validate_python(once)]
    again += [export.validate_parameters({"spec": once})["spec"]]
    assert again == [once] * 3
    assert {type(spec) for spec in (*again, once.model_copy(update={"opset": 18}))} == {ResolvedSpec}


def test_a_resolved_spec_lacks_nothing() -> None:
    """Without a name or weights there is no resolved spec."""
    with pytest.raises(ValidationError, match="name"):
        ResolvedSpec(model="alexnet", weights="random")
    with pytest.raises(SpecError, match="says its weights"):
        ResolvedSpec(model="alexnet", name="a", weights=None)


def test_none_is_not_given(write_catalog: Any) -> None:
    """A form that sends null for what was left out changes nothing."""
    write_catalog({"net": {"model": "alexnet", "weights": "random", "name": "Net"}})
    spec = resolve(ExportSpec(model="net", weights=None, name=None, sample=None))
    assert (spec.weights, spec.name) == ("random", "Net")


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("package.module:Net", "Net"),
        ("package.module:Net.from_config", "from_config"),
        ("package.tiny:build", "tiny"),
        ("folder/tiny_net.py:build_model", "tiny_net"),
        ("folder/tiny.py:Net", "Net"),
        ("alexnet", "alexnet"),
    ],
)
def test_the_name_comes_from_the_model(model: str, name: str) -> None:
    """A model is registered by its class, or by its file where the callable's name says nothing."""
    assert resolve(ExportSpec(model=model, weights="random")).name == name


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of model, weights and sample keep their meaning when the working directory changes."""
    monkeypatch.chdir(tmp_path)
    spec = resolve(ExportSpec(model="net.py:Net", weights="w.pth", sample="s.npz"))
    assert spec.model == f"{tmp_path}/net.py:Net"
    assert spec.weights == str(tmp_path / "w.pth")
    assert spec.sample == tmp_path / "s.npz"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert resolve(ExportSpec(model="~/net.py:Net", weights="~/w.pth")).weights == str(tmp_path / "w.pth")


def test_an_import_path_needs_weights() -> None:
    """Nobody guesses the weights of a class: the choices are listed."""
    with pytest.raises(SpecError, match=r"net\.py:Net needs --weights, one of: a file,.* a URL,.*as-built"):
        resolve(ExportSpec(model="net.py:Net"))


@pytest.mark.parametrize("model", ["net.py:", ":Net", ":"])
def test_half_an_import_path_is_one_sentence(model: str) -> None:
    """An import path without file or class says how one looks."""
    with pytest.raises(SpecError, match=r"write package\.module:Class"):
        resolve(ExportSpec(model=model, weights="random"))


def test_a_live_module_is_named_by_its_class() -> None:
    """A live module needs neither name nor weights."""
    spec = resolve(ExportSpec(model=nn.Linear(2, 2)))
    assert (spec.name, spec.weights) == ("Linear", "as-built")
    assert resolve(spec) is not None


@pytest.mark.parametrize("model", [nn.Linear, 3, None, len])
def test_what_is_no_model_is_one_sentence(model: Any) -> None:
    """A class instead of an instance, or anything else, is refused before it is called."""
    with pytest.raises(SpecError, match="A model is text or an "):
        resolve(ExportSpec(model=model))


@pytest.mark.parametrize(
    ("name", "hint"),
    [("alexnt", "alexnet"), ("digit", "digits"), ("resnet-50", "resnet50"), ("", "catalog.yaml"),
     ("zzzzzzz", "catalog.yaml"),
     ("torch.nn.Linear", "package.module:Class")],
)  # fmt: skip
def test_an_unknown_name_suggests_close_ones(name: str, hint: str) -> None:
    """A misspelt name is refused with the closest of the catalog and of its family."""
    with pytest.raises(SpecError, match=f"is no catalog entry.*{hint}"):
        check(resolve(ExportSpec(model=name)))


@pytest.mark.parametrize("name", ["net.py", "folder/net.py"])
def test_a_file_without_a_class_is_told(name: str) -> None:
    """With what to write."""
    with pytest.raises(SpecError, match=f"names no class in the file; write {name}:Class"):
        check(resolve(ExportSpec(model=name)))


def test_a_wrong_value_is_shown_short() -> None:
    """A huge wrong value does not flood the message."""
    with pytest.raises(SpecError) as caught:
        make_spec(model="m", opset="9" * 5000 + "x")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"model": "alexnt"}, SpecError, "did you mean alexnet"),
        ({"model": "torch.nn:Linaer", "weights": "random"}, SpecError, "has no callable 'Linaer'"),
        ({"model": "alexnet", "sample": "none.npz"}, SpecError, r"no sample file .*none\.npz"),
        ({"model": "alexnet", "weights": "random:x"}, WeightsError, "has no seed"),
        ({"model": "alexnet", "weights": "https://host"}, SpecError, "names no file"),
        ({"model": "alexnet", "weights": "none.pth"}, WeightsError, r"no weights file .*none\.pth"),
        ({"model": "resnet18", "weights": "IMAGENET1K_V9"}, WeightsError, "torchvision has IMAGENET1K_V1"),
        ({"model": "quantized_resnet18"}, WeightsError, "are int8 tensors"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    fields: dict[str, str], error: type[AssayError], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown model, callable, sample, seed, URL, file or enum member is refused, and nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        check(resolve(ExportSpec(**fields)))


@pytest.mark.parametrize("weights", ["DEFAULT", "random:3", "as-built", "https://host/w.pth", "models:/a/1"])
def test_what_is_there_passes(weights: str) -> None:
    """A known model with weights of any kind is fine; whether a server has them is not asked."""
    check(resolve(ExportSpec(model="alexnet", weights=weights)))


def test_no_catalog_is_an_empty_one(tmp_path: Path) -> None:
    """A project without a catalog still exports torchvision's models; an empty file is no error either."""
    assert read_catalog(tmp_path / "none.yaml") == {}
    (tmp_path / "empty.yaml").write_text("# nothing yet\n")
    assert read_catalog(tmp_path / "empty.yaml") == {}


def test_the_catalog_lies_in_the_project(tmp_path: Path) -> None:
    """The catalog's place is the project's, and a copy of it reads the same."""
    assert CATALOG_FILE.is_relative_to(PROJECT_FOLDER)
    shutil.copy(CATALOG_FILE, tmp_path / "copy.yaml")
    assert read_catalog(tmp_path / "copy.yaml") == read_catalog()


def test_the_shipped_catalog_resolves() -> None:
    """Every entry of the project's own catalog is a right spec whose files and names exist."""
    entries = read_catalog()
    assert "digits" in entries
    for name in entries:
        spec = resolve(ExportSpec(model=name))
        assert spec.name == name
        check(spec)


def test_the_shipped_catalog_works_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog's paths are relative to the project, not to the working directory."""
    monkeypatch.chdir(tmp_path)
    spec = resolve(ExportSpec(model="digits"))
    assert Path(spec.model.rpartition(":")[0]).is_file()
    assert Path(spec.weights).is_file()
    assert spec.sample is not None
    assert spec.sample.is_absolute()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [unclosed", "is not YAML"),
        ("- a\n- b\n", "must map each name"),
        ("a: alexnet\n", "must map each name"),
        ("a:\n", "must map each name"),
        ("just text", "must map each name"),
        ("a: {model: alexnet, colour: red}", "colour: "),
        ("a: {model: alexnet, inputs: x}", "can't be read"),
        ("a: {model: alexnet, opset: 99}", "Opset 99"),
    ],
)
def test_a_wrong_catalog_is_one_sentence(
    text: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A catalog that is no YAML, or holds wrong entries, is refused with what is wrong."""
    (tmp_path / "catalog.yaml").write_text(text)
    monkeypatch.setattr(
        "tasks.core.spec.resolve.read_catalog", functools.partial(read_catalog, tmp_path / "catalog.yaml")
    )
    with pytest.raises(SpecError, match=words) as caught:
        resolve(ExportSpec(model="a"))
    assert "\n" not in str(caught.value)
