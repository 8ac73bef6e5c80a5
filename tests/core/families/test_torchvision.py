"""What torchvision's models need, weigh, show and tell is known by their names; recipes say how to export, no more."""

import warnings

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.transforms.functional import center_crop, resize

from tasks.core.errors import WeightsError
from tasks.core.families.torchvision import TorchvisionFamily, read_recipes, recipe_for
from tasks.core.forward.arguments import argument_paths
from tasks.core.inputs.choice import choose_inputs
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tasks.core.weights.sources import find_weights
from tests.models.python_files import made
from tests.models.tiny_detectors import OneImage

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
    assert {probe.sizes["height"] for probe in inputs.probes} == {225, 300, 302}, "smaller, as traced, and beyond"


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
