"""Every torchvision model has a recipe, and recipes say how to export, no more."""

import warnings

import pytest
from torchvision import models

from tasks.core.errors import WeightsError
from tasks.core.forward.arguments import argument_paths
from tasks.core.inputs.choice import choose_inputs
from tasks.core.spec.catalog import resolve
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.recipes import read_recipes, recipe_for
from tasks.core.weights.find import find_weights
from tests.models.tiny_detectors import OneImage


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
