"""Weights are loaded strictly: prefixes apart, each key of file and module has the other's name and shape."""

import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision import models

from tasks.core.errors import WeightsError
from tests.core.weights.checkpoints import equal, load_state_dict, read_state_dict, save, small


class Renaming(nn.Module):
    """A module whose own hook renames the keys of an older version."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for end in ("weight", "bias"):
            if f"{prefix}fc_{end}" in state_dict:
                state_dict[f"{prefix}linear.{end}"] = state_dict.pop(f"{prefix}fc_{end}")
        super()._load_from_state_dict(state_dict, prefix, *args)


@pytest.mark.parametrize(
    "prefixes", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "_orig_mod.module.", "net.backbone."]
)
def test_drops_prefixes_that_all_keys_share(prefixes: str) -> None:
    """DataParallel's, torch.compile's and Lightning's prefixes are dropped, and the report says so."""
    state = {f"{prefixes}{key}": value for key, value in small().state_dict().items()}
    model = small()
    nn.init.zeros_(model.stem.weight)  # type: ignore[union-attr, arg-type]
    loaded = load_state_dict(model, state)
    assert equal(model.state_dict(), small().state_dict())
    assert loaded.num_loaded == len(state)
    assert loaded.renamed


def test_keeps_a_prefix_that_the_model_has() -> None:
    """A model whose own names start with `module.` loads them as they are."""
    model = nn.Sequential(OrderedDict(module=small()))
    assert load_state_dict(model, model.state_dict()).renamed == ()


def test_drops_a_prefix_beside_foreign_keys() -> None:
    """Torch's AveragedModel puts `n_averaged` beside `module.*`: that one key is judged by its own name."""
    averaged = torch.optim.swa_utils.AveragedModel(small())
    with pytest.raises(WeightsError, match=r"1 keys are unknown to the model: n_averaged;.*--ignore-unexpected"):
        load_state_dict(small(), averaged.state_dict())
    loaded = load_state_dict(small(), averaged.state_dict(), ignore_unexpected=("n_averaged",))
    assert (loaded.num_loaded, loaded.unexpected) == (len(small().state_dict()), ("n_averaged",))


def test_a_prefix_never_hides_a_key() -> None:
    """Where dropping a prefix would lay one key upon another, nothing is dropped."""
    state = small().state_dict()
    both = {**{f"module.{k}": torch.zeros_like(v) for k, v in state.items()}, "stem.weight": state["stem.weight"]}
    with pytest.raises(WeightsError, match="missing from the weights"):
        load_state_dict(small(), both)


def test_missing_and_unexpected_keys_are_named() -> None:
    """What lacks and what is left over is refused by name, with the option that allows it."""
    state = dict(small().state_dict())
    del state["head.bias"]
    with pytest.raises(WeightsError, match=r"missing from the weights: head\.bias;.*--ignore-missing"):
        load_state_dict(small(), state)
    state = {**small().state_dict(), "extra.a": torch.zeros(1), "extra.b": torch.zeros(1)}
    with pytest.raises(
        WeightsError, match=r"2 keys are unknown to the model: extra\.a, extra\.b;.*--ignore-unexpected"
    ):
        load_state_dict(small(), state)


def test_globs_allow_what_they_match_and_no_more() -> None:
    """A glob releases the keys it matches; one key beyond it is still refused, alone."""
    state = {**small().state_dict(), "extra.a": torch.zeros(1), "other": torch.zeros(1)}
    del state["head.bias"]
    with pytest.raises(WeightsError, match="1 keys are unknown to the model: other;"):
        load_state_dict(small(), state, ignore_missing=("head.*",), ignore_unexpected=("extra.*",))
    loaded = load_state_dict(small(), state, ignore_missing=("head.*",), ignore_unexpected=("extra.*", "other"))
    assert loaded.missing == ("head.bias",)
    assert loaded.unexpected == ("extra.a", "other")
    assert loaded.num_loaded == len(small().state_dict()) - 1


def test_weights_of_another_network_are_told_as_such() -> None:
    """A few keys that end alike are no prefix worth dropping: the message shows the keys of both."""
    with pytest.raises(
        WeightsError, match=r"No key fits: the weights have conv1\.weight.*AlexNet has features\.0\.weight"
    ):
        load_state_dict(models.alexnet(weights=None), models.resnet18(weights=None).state_dict())


def test_many_wrong_keys_stay_one_sentence() -> None:
    """Of hundreds of wrong keys five are shown and the rest counted."""
    with pytest.raises(WeightsError, match=r"60 keys are unknown.* and 55 more") as caught:
        load_state_dict(small(), {**small().state_dict(), **{f"x{i}": torch.zeros(1) for i in range(60)}})
    assert len(str(caught.value)) < 300


def test_a_wrong_shape_is_one_sentence() -> None:
    """Shapes that differ are given for both sides, with the key."""
    model = nn.Sequential(OrderedDict(stem=nn.Linear(4, 3), norm=nn.BatchNorm1d(3), head=nn.Linear(3, 7)))
    with pytest.raises(WeightsError) as caught:
        load_state_dict(model, small().state_dict())
    text = str(caught.value)
    assert "size mismatch for head.weight: [2, 3] in the weights, [7, 3] in the model" in text
    assert "--kwargs" in text
    assert "\n" not in text
    assert "torch.Size" not in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.ones(3, 4, dtype=torch.int8), "quantized weights need their scales"),
        ("quantized", "quantized weights need their scales"),
        (torch.ones(3, 4).to(torch.float8_e4m3fn), "8-bit floats need their scales"),
        (torch.ones(3, 4, dtype=torch.complex64), "imaginary part"),
    ],
)
def test_refuses_what_would_load_as_other_numbers(value: torch.Tensor | str, words: str) -> None:
    """Integers, 8-bit floats and complex numbers in place of floats are refused, not cast."""
    if not isinstance(value, torch.Tensor):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # deprecated, but old checkpoints hold it
            value = torch.quantize_per_tensor(torch.ones(3, 4), 0.1, 0, torch.qint8)
    with pytest.raises(WeightsError, match=f"stem.weight is .*{words}"):
        load_state_dict(small(), {**small().state_dict(), "stem.weight": value})


@pytest.mark.parametrize(
    ("buffer", "fits", "does_not"),
    [
        (torch.tensor(1), torch.tensor(5.0), torch.tensor(5.5)),
        (torch.tensor(1, dtype=torch.int32), torch.tensor(5), torch.tensor(2**33 + 5)),
        (torch.tensor([True]), torch.tensor([0], dtype=torch.uint8), torch.tensor([7])),
    ],
)
def test_refuses_what_integers_can_not_hold(buffer: torch.Tensor, fits: torch.Tensor, does_not: torch.Tensor) -> None:
    """A buffer of integers takes other numbers only where they stay what they are."""
    model = small()
    model.register_buffer("counts", buffer)
    load_state_dict(model, {**small().state_dict(), "counts": fits})
    with pytest.raises(WeightsError, match=r"counts is .*its values would become others"):
        load_state_dict(model, {**small().state_dict(), "counts": does_not})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_widths_are_cast(dtype: torch.dtype) -> None:
    """Weights kept in another float width load into the model's own."""
    model = small()
    load_state_dict(model, {k: v.to(dtype) if v.is_floating_point() else v for k, v in small().state_dict().items()})
    assert model.stem.weight.dtype == torch.float32  # type: ignore[union-attr]


def test_hooks_rename_before_keys_are_judged() -> None:
    """Keys that the module's own hook renames are neither missing nor unexpected."""
    values = nn.Linear(4, 3)
    model = Renaming()
    loaded = load_state_dict(model, {"fc_weight": values.weight.data, "fc_bias": values.bias.data})
    assert (loaded.missing, loaded.unexpected, loaded.num_loaded) == ((), (), 2)
    assert torch.equal(model.linear.weight, values.weight)
    with pytest.raises(WeightsError, match=r"missing from the weights: linear\.bias"):
        load_state_dict(Renaming(), {"fc_weight": values.weight.data})


def test_a_hook_that_raises_is_one_sentence() -> None:
    """Whatever the module's own loading code raises becomes a sentence about the weights."""

    class Picky(nn.Linear):
        def _load_from_state_dict(self, state_dict: dict[str, Any], *args: Any) -> None:
            raise KeyError(state_dict["codebook"])

    with pytest.raises(WeightsError, match=r"do not fit Picky: .*codebook"):
        load_state_dict(Picky(4, 3), nn.Linear(4, 3).state_dict())


def test_a_module_that_hides_its_missing_keys_is_refused() -> None:
    """A load_state_dict that returns nothing can't be trusted to have loaded everything."""

    class Silent(nn.Linear):
        def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
            super().load_state_dict(*args, **kwargs)

    with pytest.raises(WeightsError, match="load_state_dict returns nothing"):
        load_state_dict(Silent(4, 3), {"weight": torch.zeros(3, 4)})


@pytest.mark.parametrize("prefix", ["", "module."])
def test_versions_of_modules_are_handed_on(prefix: str, tmp_path: Path) -> None:
    """A module that must know the version of its format, such as MNASNet, gets it, below a prefix too."""
    model = models.mnasnet0_5(weights=None)
    wrapped = nn.Sequential(OrderedDict(module=model)) if prefix else model
    found = read_state_dict(save({"model": wrapped.state_dict()}, tmp_path / "w.pth"))
    loaded = load_state_dict(models.mnasnet0_5(weights=None), found.tensors)
    assert loaded.num_loaded == len(model.state_dict())


def test_live_state_dicts_are_not_changed() -> None:
    """Loading leaves the mapping that it was given as it was."""
    state = OrderedDict((f"module.{k}", v.clone()) for k, v in small().state_dict().items())
    before = list(state)
    load_state_dict(small(), state)
    assert list(state) == before


def test_lazy_modules_load() -> None:
    """A module whose shapes come with the weights takes them."""
    lazy = nn.LazyLinear(3)
    load_state_dict(lazy, nn.Linear(4, 3).state_dict())
    assert lazy.weight.shape == (3, 4)
