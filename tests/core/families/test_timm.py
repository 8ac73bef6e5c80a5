"""Models of timm by name: what there is, inputs and sizes of their configs, weights of a seed or a file."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from tasks.core.errors import AssayError, WeightsError
from tasks.core.export.fallback import export
from tasks.core.families.timm import TimmFamily
from tasks.core.forward.arguments import forward_parameters
from tasks.core.inputs.choice import choose_inputs
from tasks.core.model.building import build_with_weights
from tasks.core.proof.validation import validate
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import check, resolve
from tasks.core.weights.sources import find_weights

FAMILY = TimmFamily()


def built(model: str, weights: str) -> tuple[Any, Any]:
    """The module, and the report of its loading."""
    spec = resolve(ExportSpec(model=model, weights=weights))
    check(spec)
    return build_with_weights(spec, find_weights(spec, lambda uri: pytest.fail(uri)))


def test_timm_is_read_as_text() -> None:
    """All names of architectures and nearly all tags are known, without importing timm or PyTorch."""
    code = (
        "import sys; from tasks.core.families.timm import TimmFamily; names = TimmFamily().names()\n"
        "sys.exit('timm' in sys.modules or 'torch' in sys.modules or len(names) < 2000)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
    names = set(FAMILY.names())
    assert {f"timm:{name}" for name in timm.list_models()} <= names
    tagged = {f"timm:{name}" for name in timm.list_pretrained()}
    assert len(tagged & names) > 0.95 * len(tagged)
    assert all(map(FAMILY.lists, tagged))


@pytest.mark.parametrize(
    ("model", "weights", "message"),
    [
        ("timm:", "random", "names no model"),
        ("timm:resnet18q", "random", "'timm:resnet18q' is no catalog entry.* did you mean timm:resnet18"),
        ("timm:resnet18.nope", "random", "nope"),
        ("timm:test_vit", "/nowhere.safetensors", "There is no weights file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(model: str, weights: str, message: str) -> None:
    """No name, a misspelt one, a tag that there is not, a file that is not there."""
    with pytest.raises(AssayError, match=message):
        built(model, weights)


def test_a_name_fills_the_spec() -> None:
    """The registered name is one that MLflow allows; input and output are called as Optimum calls them."""
    spec = resolve(ExportSpec(model="timm:convnextv2_atto.fcmae_ft_in1k", weights="random"))
    assert spec.name == "convnextv2_atto_fcmae_ft_in1k"
    assert (spec.input_names, spec.outputs) == (("pixel_values",), ("logits",))
    assert '"timm:convnextv2_atto.fcmae_ft_in1k"' in spec.canonical_json()
    assert resolve(ExportSpec(model="timm:test_vit")).weights == "DEFAULT"


@pytest.mark.parametrize(
    ("name", "dims", "reason"),
    [
        ("test_convnext", "batch_size,3,height=160,width=160", ""),
        ("test_vit", "batch_size,3,160,160", "fixed_input_size"),
        ("mobilevit_xxs", "batch_size,3,256,256", "multiple of a block"),
        ("csatv2", "batch_size,3,512,512", "one known size"),
        ("tf_mobilenetv3_small_minimal_100", "batch_size,3,224,224", "TensorFlow"),
    ],
)
def test_height_and_width_are_dynamic_where_they_are(name: str, dims: str, reason: str) -> None:
    """Sizes come from the pretrained config; what is built for one size, or pads by it, says so."""
    module = timm.create_model(name)
    assert FAMILY.default_inputs(f"timm:{name}", module, forward_parameters(module)) == (f"x=float32[{dims}]",)
    notes = FAMILY.loading_notes(module)
    assert notes == () if not reason else reason in notes[0]


def test_what_a_model_was_trained_to_see_is_told() -> None:
    """Size, crop, mean and std of the pretrained config."""
    found = FAMILY.preprocessing("timm:resnet18.a1_in1k", timm.create_model("resnet18.a1_in1k"))
    assert (found.crop, found.resize, found.interpolation) == ((224, 224), (235, 235), "bicubic")
    assert found.mean == (0.485, 0.456, 0.406)
    assert found.facts["std"] == "[0.229, 0.224, 0.225]"


def test_weights_are_of_a_seed_or_a_file(tmp_path: Path) -> None:
    """A file is loaded strictly; one that lacks a key is refused."""
    state = timm.create_model("test_vit").state_dict()
    file = tmp_path / "own.safetensors"
    save_file(state, file)
    module, _ = built("timm:test_vit", str(file))
    assert all(torch.equal(value, state[key]) for key, value in module.state_dict().items())
    save_file({key: value for key, value in state.items() if key != "head.bias"}, file)
    with pytest.raises(WeightsError, match=r"1 keys are missing from the weights: head\.bias"):
        built("timm:test_vit", str(file))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_a_name_is_exported_and_proven_with_nothing_else_said(name: str, tmp_path: Path) -> None:
    """From `timm:NAME --weights random` to a pass, with the names that Optimum gives."""
    spec = resolve(ExportSpec(model=f"timm:{name}", weights="random"))
    module, _ = built(f"timm:{name}", "random")
    reference = Reference(module, choose_inputs(spec, module))
    candidate, _ = export(spec, reference, provenance={}, folder=tmp_path)
    evidence = validate(candidate, reference, random_weights=True).evidence
    assert evidence.verdict == "pass", evidence.reasons
    assert [value.name for value in (*candidate.graph.inputs, *candidate.graph.outputs)] == ["pixel_values", "logits"]
