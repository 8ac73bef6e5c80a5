"""What torchvision's models need, weigh, show and tell is known by their names; recipes say how to export, no more."""

import dataclasses
import re
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms.functional import center_crop, resize

from tasks.core.errors import ModelError, ServiceError, WeightsError
from tasks.core.families.torchvision import TorchvisionFamily, read_recipes, recipe_for
from tasks.core.families.torchvision_sources import default_weights
from tasks.core.forward.arguments import argument_paths
from tasks.core.hashes import file_sha256
from tasks.core.inputs.choice import choose_inputs
from tasks.core.model.building import build_with_weights
from tasks.core.records.steps import Weights
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tasks.core.weights.sources import find_weights
from tests.models.python_files import made
from tests.models.tiny_detectors import OneImage
from tests.services.weights_server import WeightsServer

FAMILY = TorchvisionFamily()


@pytest.mark.parametrize("name", models.list_models())
def test_every_torchvision_name_has_a_valid_recipe(name: str) -> None:
    """Each name resolves to a valid spec that is dynamic in height and width, or says why not."""
    spec = resolve(ExportSpec(model=name, weights="random"))
    assert recipe_for(name)
    dynamic = {dim.name for item in spec.inputs for dim in item.dims}
    assert {"height", "width"} <= dynamic or any("height" in what for what in spec.static)
    assert all(why and not why.endswith(".") for why in spec.static.values())


def test_no_recipe_is_idle() -> None:
    """Each pattern of each recipe is the first match of some model."""
    found = {name: recipe_for(name) for name in models.list_models()}
    for recipe in read_recipes():
        fields = {key: value for key, value in recipe.items() if key != "models"}
        assert fields in found.values(), recipe["models"]


def test_inputs_of_ones_own_leave_a_recipes_out() -> None:
    """With --input neither the recipe's names nor its reasons remain; its exporter does."""
    spec = resolve(ExportSpec(model="ssd300_vgg16", weights="random", inputs=("images.0=float32[3,64,64]",)))
    assert (spec.input_names, spec.static, spec.exporter) == ((), {}, "torchscript")


def test_an_import_path_has_no_recipe() -> None:
    """A class that is called like a torchvision model is not one."""
    assert resolve(ExportSpec(model="torchvision.models:resnet18", weights="random")).inputs == ()


def test_a_recipes_sizes_are_the_models_own() -> None:
    """Height and width without a size are traced at the crop of the default weights."""
    spec = resolve(ExportSpec(model="efficientnet_b3", weights="random"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inputs = choose_inputs(spec, models.efficientnet_b3().eval())
    assert inputs.probes[0].sizes == {"batch": 2, "height": 300, "width": 300}
    heights = {probe.sizes["height"] for probe in inputs.probes if probe.family != "large"}
    assert heights == {225, 300, 302}, "smaller, as traced, and beyond"


def test_a_detectors_input_is_one_image_of_its_list() -> None:
    """The recipe's path leads into forward's list."""
    spec = resolve(ExportSpec(model="ssdlite320_mobilenet_v3_large", weights="random"))
    model = OneImage().model.eval()
    (path,) = argument_paths([item.name for item in spec.inputs], model)
    assert (path.argument, path.keys) == ("images", (0,))


def test_int8_weights_are_one_sentence() -> None:
    """The int8 weights of a quantized model are refused before anything is downloaded."""
    spec = resolve(ExportSpec(model="quantized_resnet18"))
    with pytest.raises(WeightsError, match=r"IMAGENET1K_FBGEMM_V1 are int8 tensors .*give --weights random"):
        find_weights(spec, lambda uri: pytest.fail(uri))


def test_what_the_sources_declare_is_what_torchvision_says() -> None:
    """Read as text, without an import: every model, and where its DEFAULT weights are."""
    found = {name: models.get_model_weights(name)["DEFAULT"].url for name in models.list_models()}
    assert default_weights() == found


def test_weights_that_lie_here_are_seen(caches: Path) -> None:
    """Under the name of their download, in torchvision's folder."""
    assert not FAMILY.has_weights_here("alexnet")
    folder = caches / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "alexnet-owt-7be5be79.pth").touch()
    assert FAMILY.has_weights_here("alexnet")
    assert not FAMILY.has_weights_here("resnet18")


def test_the_names_are_torchvisions_own() -> None:
    """All names are listed, recognised by their form; paths and sentences are not."""
    assert list(FAMILY.names()) == models.list_models()
    assert all(map(FAMILY.recognises, FAMILY.names()))
    assert not any(map(FAMILY.recognises, ["", "net.py", "a.b", "a:b", "two words", nn.Identity()]))


def test_names_build_without_a_download() -> None:
    """A name builds its model; segmentation builders fetch no backbone."""
    assert type(made("squeezenet1_1")).__name__ == "SqueezeNet"
    assert "weights_backbone" not in str(made("lraspp_mobilenet_v3_large", num_classes=2).__dict__)


def test_default_weights_are_a_file_of_torchvisions_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The weights of a name are a URL with the hash in it, kept where torch.hub keeps them."""
    monkeypatch.setenv("TORCH_HOME", "/somewhere")
    found = FAMILY.weights("resnet18", "DEFAULT")
    assert (found.origin, found.folder_variable) == ("ResNet18_Weights.IMAGENET1K_V1", "TORCH_HOME")
    assert found.location == "https://download.pytorch.org/models/resnet18-f37072fd.pth"
    assert str(found.folder) == "/somewhere/hub/checkpoints"


def test_the_factory_loads_the_member() -> None:
    """The builder is given the enum member, of which it takes more than tensors."""
    assert FAMILY.weights("alexnet", "DEFAULT").arguments == {"weights": models.AlexNet_Weights.IMAGENET1K_V1}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("squeezenet1_1", 224), ("efficientnet_b3", 300), ("inception_v3", 299), ("fcn_resnet50", 520)],
)
def test_pictures_have_the_size_of_the_default_weights(name: str, expected: int) -> None:
    """Height and width are the crop of the default weights, or what they are resized to where nothing is cropped."""
    assert FAMILY.usual_sizes(name, nn.Identity()) == {"height": expected, "width": expected}
    assert FAMILY.default_inputs(name, nn.Identity(), ["x", "y"]) == (f"x=float32[batch,3,{expected},{expected}]",)


@pytest.mark.parametrize("name", ["r3d_18", "s3d", "raft_large", "fasterrcnn_resnet50_fpn"])
def test_what_is_no_square_picture_has_no_usual_size(name: str) -> None:
    """Clips, pairs of frames and pictures of any size are left to the recipes."""
    assert FAMILY.usual_sizes(name, nn.Identity()) == {}
    assert FAMILY.default_inputs(name, nn.Identity(), ["x"]) == ()


def test_labels_and_preprocessing_are_those_of_the_weights() -> None:
    """What is known of the weights' training is what torchvision's own transforms do to a picture."""
    found = FAMILY.weights("resnet18", "DEFAULT").preprocessing
    assert (len(found.labels), found.labels[0], found.labels[-1]) == (1000, "tench", "toilet tissue")
    assert (found.resize, found.crop, found.interpolation) == ((256,), (224,), "bilinear")
    picture = torch.arange(3 * 300 * 400, dtype=torch.float32).reshape(3, 300, 400) / (3 * 300 * 400)
    resized = center_crop(resize(picture, list(found.resize), antialias=True), list(found.crop))
    mean, std = (torch.tensor(values)[:, None, None] for values in (found.mean, found.std))
    theirs = models.ResNet18_Weights.DEFAULT.transforms()(picture)
    torch.testing.assert_close((resized - mean) / std, theirs)
    assert FAMILY.weights("r3d_18", "DEFAULT").preprocessing.crop == (112, 112)
    assert FAMILY.weights("raft_large", "DEFAULT").preprocessing.labels == ()
    assert len(FAMILY.weights("ssd300_vgg16", "DEFAULT").preprocessing.labels) == 91


def test_large_models_come_first_in_a_sweep() -> None:
    """The cost of a model is about its arithmetic."""
    assert FAMILY.gflop("vit_h_14") > 10 * FAMILY.gflop("resnet18") > 10 * FAMILY.gflop("shufflenet_v2_x0_5") > 0


def saved(model: nn.Module, path: Path) -> Path:
    """Write its weights, as torchvision publishes them."""
    torch.save(model.state_dict(), path)
    return path


def built(name: str, path: Path, **fields: object) -> tuple[nn.Module, Weights]:
    """Build a model with the weights of a file, and the record of them."""
    spec = resolve(ExportSpec(model=name, weights=str(path), **fields))
    weights = find_weights(spec, lambda uri: pytest.fail(uri))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build_with_weights(spec, weights)[0], weights


@pytest.mark.parametrize(
    ("name", "file"), [("inception_v3", "inception_v3_google-0cc3c7bd.pth"), ("googlenet", "googlenet-1378be20.pth")]
)
def test_torchvisions_own_file_is_its_member(name: str, file: str, tmp_path: Path) -> None:
    """By its name in any folder the file is built as DEFAULT is, with what the builder does for its weights."""
    builder = models.get_model_builder(name)
    path = saved(builder(weights=None, init_weights=False), tmp_path / file)
    model, weights = built(name, path)
    assert model.transform_input
    assert weights.origin == f"{file} (built as {models.get_model_weights(name)['DEFAULT']})"
    assert torch.equal(next(model.parameters()), next(iter(torch.load(path).values())))
    other, weights = built(name, path.rename(tmp_path / "mine.pth"))
    assert (other.transform_input, weights.origin) == (False, "mine.pth")


def test_a_file_that_only_has_the_name_is_loaded_as_any_other(tmp_path: Path) -> None:
    """Keys that DataParallel saved fit; those of a network with other classes are told."""
    name, file = "squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"
    state = models.squeezenet1_1(weights=None).state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, tmp_path / file)
    model, _ = built(name, tmp_path / file)
    assert torch.equal(next(model.parameters()), next(iter(state.values())))
    torch.save(models.squeezenet1_1(weights=None, num_classes=3).state_dict(), tmp_path / file)
    with pytest.raises(WeightsError, match=r"classifier\.1\.weight"):
        built(name, tmp_path / file)


@pytest.mark.parametrize(
    "name",
    [
        "retinanet_resnet50_fpn",
        *(pytest.param(f"{kind}rcnn_resnet50_fpn", marks=pytest.mark.slow) for kind in ("faster", "mask", "keypoint")),
    ],
)
def test_a_detectors_own_file_has_its_epsilon(name: str, tmp_path: Path) -> None:
    """Detectors trained with frozen statistics have a BatchNorm eps of 0, which only their own weights set."""
    builder = models.get_model_builder(name)
    file = models.get_model_weights(name)["DEFAULT"].url.rpartition("/")[2]
    model, _ = built(name, saved(builder(weights=None, weights_backbone=None), tmp_path / file))
    assert {part.eps for part in model.modules() if hasattr(part, "running_var")} == {0.0}


def test_densenets_old_keys_load(tmp_path: Path) -> None:
    """The published file of DenseNet has keys of an older version, which torchvision's builder knows."""
    state = models.densenet121(weights=None).state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))(\d)\.", r"\1.\2.", key): value
        for key, value in state.items()
        if not key.endswith("num_batches_tracked")  # which are younger, too
    }
    torch.save(old, tmp_path / "densenet121-a639ec97.pth")
    model, _ = built("densenet121", tmp_path / "densenet121-a639ec97.pth")
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_versions_of_modules_reach_the_builder(tmp_path: Path) -> None:
    """MNASNet refuses to load without knowing the version of its format."""
    path = saved(models.mnasnet0_5(weights=None), tmp_path / "mnasnet0.5_top1_67.823-3ffadce67e.pth")
    _, weights = built("mnasnet0_5", path)
    assert weights.named == "MNASNet0_5_Weights.IMAGENET1K_V1"


def test_a_file_is_its_member_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first digits of the SHA-256 in the enum's URL are enough, whatever the file is called."""
    path = saved(models.squeezenet1_1(weights=None), tmp_path / "renamed.pth")
    sha256 = file_sha256(path)
    member = models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    assert FAMILY.name_of_file("squeezenet1_1", path.name, sha256) == ""
    assert built("squeezenet1_1", path)[1].named == ""
    value = dataclasses.replace(member.value, url=f"https://h/squeezenet1_1-{sha256[:8]}.pth")
    monkeypatch.setattr(member, "_value_", value)
    _, weights = built("squeezenet1_1", path)
    assert (weights.named, weights.origin) == (str(member), f"renamed.pth ({member})")


def test_a_name_without_the_bytes_is_noted(tmp_path: Path) -> None:
    """What is built as torchvision's own but holds other weights is not told as torchvision's."""
    path = saved(models.squeezenet1_1(weights=None), tmp_path / "squeezenet1_1-b8a52dc0.pth")
    spec = resolve(ExportSpec(model="squeezenet1_1", weights=str(path)))
    _, report = build_with_weights(spec, find_weights(spec, lambda uri: pytest.fail(uri)))
    (note,) = report.notes
    assert "has the name of SqueezeNet1_1_Weights.IMAGENET1K_V1, not its SHA-256" in note


def test_a_file_of_another_shape_keeps_its_arguments(tmp_path: Path) -> None:
    """Weights of one's own that kept the published name are built with the arguments that were given."""
    path = saved(models.resnet18(num_classes=7), tmp_path / "resnet18-f37072fd.pth")
    model, weights = built("resnet18", path, kwargs={"num_classes": 7})
    assert (model.fc.out_features, weights.named) == (7, "")
    with pytest.raises((ModelError, WeightsError), match="size mismatch"):
        built("resnet18", path)


def test_a_checkpoint_of_that_name_is_read_as_any_other(tmp_path: Path) -> None:
    """Where the weights lie beside others in it, the file is none of torchvision's."""
    state = models.squeezenet1_1(weights=None).state_dict()
    path = tmp_path / "squeezenet1_1-b8a52dc0.pth"
    torch.save({"model": state, "model_ema": {k: v + 1 for k, v in state.items()}}, path)
    with pytest.raises(WeightsError, match=r"several sets .*\(model, model_ema\)"):
        built("squeezenet1_1", path)
    assert built("squeezenet1_1", Path(f"{path}#model"))[1].named == ""


def test_the_members_own_loading_is_left_as_it_was(tmp_path: Path) -> None:
    """Once the module is built, the member loads what it always does."""
    member = models.SqueezeNet1_1_Weights.IMAGENET1K_V1
    built("squeezenet1_1", saved(models.squeezenet1_1(weights=None), tmp_path / "squeezenet1_1-b8a52dc0.pth"))
    assert "get_state_dict" not in vars(member)


def test_the_sentence_for_a_failed_download_is_right(
    weights_server: WeightsServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The local file that the sentence recommends is built as the one that could not be fetched."""
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", weights_server.address)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    weights_server.status = 503
    with pytest.raises(ServiceError, match=r"give a local file with --weights FILE") as caught:
        find_weights(resolve(ExportSpec(model="googlenet")), lambda uri: pytest.fail(uri))
    name = re.search(r"put (\S+) into", str(caught.value))[1]  # type: ignore[index]
    builder = models.get_model_builder("googlenet")
    model, _ = built("googlenet", saved(builder(weights=None, init_weights=False), tmp_path / name))
    assert model.transform_input


def test_another_builder_of_torchvisions_module_is_noted(tmp_path: Path) -> None:
    """An import path to torchvision's builder, given torchvision's own file, is not what the name builds."""
    kwargs = {"aux_logits": False, "init_weights": False}
    path = saved(models.googlenet(weights=None, **kwargs), tmp_path / "googlenet-1378be20.pth")
    spec = resolve(ExportSpec(model="torchvision.models:googlenet", weights=str(path), kwargs=kwargs))
    model, report = build_with_weights(spec, find_weights(spec, lambda uri: pytest.fail(uri)))
    assert not model.transform_input
    (note,) = report.notes
    assert "MODEL googlenet is built as torchvision builds it" in note
