"""Keys of weights meet keys of a module: tied ones, computed ones, and those that wrappers have renamed."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file, save_model
from torch import nn

from tasks.core.errors import WeightsError
from tasks.core.weights.loading import load_weights
from tasks.core.weights.state_dicts import find_sets
from tests.core.weights.checkpoints import equal, load_state_dict, read_state_dict, save, small


class Language(nn.Module):
    """A language model as GPT-2 is one: the head is the embedding, the causal mask is computed."""

    def __init__(self, *, is_tied: bool = True, length: int = 6) -> None:
        super().__init__()
        self.wte = nn.Embedding(5, 4)
        self.attn = nn.Linear(4, 4)
        self.attn.register_buffer("bias_mask", torch.tril(torch.ones(length, length)).bool(), persistent=False)
        self.attn.register_buffer("masked", torch.tensor(-1e4), persistent=False)
        self.lm_head = nn.Linear(4, 5, bias=False)
        if is_tied:
            self.lm_head.weight = self.wte.weight


class Flat(nn.Module):
    """A module whose weights are slices of one vector."""

    def __init__(self) -> None:
        super().__init__()
        self.flat = nn.Parameter(torch.randn(6))
        self.first = nn.Parameter(self.flat.data[:2])
        self.rest = nn.Parameter(self.flat.data[2:])


def values(model: nn.Module) -> dict[str, torch.Tensor]:
    """Its state, copied."""
    return {key: value.clone() for key, value in model.state_dict().items()}


def test_what_save_model_writes_loads(tmp_path: Path) -> None:
    """Of tied weights safetensors keeps one name, whichever it is; the others count as loaded."""
    trained, model = Language(), Language()
    save_model(trained, str(tmp_path / "w.safetensors"))
    loaded = load_state_dict(model, read_state_dict(tmp_path / "w.safetensors").tensors)
    assert torch.equal(model.wte.weight, trained.wte.weight)
    assert (loaded.missing, loaded.num_loaded, len(loaded.renamed)) == ((), 3, 1)


@pytest.mark.parametrize("kept", ["wte.weight", "lm_head.weight"])
@pytest.mark.parametrize("prefix", ["", "transformer."])
def test_either_name_of_tied_weights_will_do(kept: str, prefix: str, tmp_path: Path) -> None:
    """GPT-2's own file has the embedding only, others the head only; a prefix makes no difference."""
    trained, model = Language(), Language()
    state = values(trained)
    state = {f"{prefix}{key}": value for key, value in state.items() if key == kept or key.startswith("attn")}
    save_file(state, tmp_path / "w.safetensors")
    loaded = load_state_dict(model, read_state_dict(tmp_path / "w.safetensors").tensors)
    other = {"wte.weight": "lm_head.weight", "lm_head.weight": "wte.weight"}[kept]
    assert f"{other} = {kept}" in loaded.renamed
    assert torch.equal(model.lm_head.weight, trained.wte.weight)


def test_a_key_that_is_not_tied_is_missing() -> None:
    """The same file is refused by a module whose head is a tensor of its own."""
    state = values(Language())
    del state["lm_head.weight"]
    with pytest.raises(WeightsError, match=r"1 keys are missing from the weights: lm_head\.weight"):
        load_state_dict(Language(is_tied=False), state)


def test_both_names_must_agree() -> None:
    """Two values for what the module holds once would leave the last one: they are refused."""
    load_state_dict(Language(), values(Language()))
    with pytest.raises(WeightsError, match=r"lm_head\.weight and wte\.weight|wte\.weight and lm_head\.weight"):
        load_state_dict(Language(), values(Language(is_tied=False)))


def test_another_view_of_one_storage_may_have_other_values() -> None:
    """A transposed view of a square matrix holds the same numbers in another order."""
    model = nn.Linear(3, 3, bias=False)
    model.turned = nn.Parameter(model.weight.data.t())
    load_state_dict(model, values(model))
    with pytest.raises(
        WeightsError, match="weight and turned are one tensor in the model, or parts of one, but differ"
    ):
        load_state_dict(model, {"weight": model.weight.detach() + 1, "turned": torch.zeros(3, 3)})


def test_slices_of_one_storage_are_not_each_other() -> None:
    """A vector holds its slices; a slice holds neither the vector nor its neighbour."""
    state = values(Flat())
    model = Flat()
    assert load_state_dict(model, {"flat": state["flat"]}).missing == ()
    assert torch.equal(model.rest, state["flat"][2:])
    with pytest.raises(WeightsError, match="flat and first and rest are one tensor in the model, or parts of one"):
        load_state_dict(Flat(), state | {"first": state["first"] + 1})
    with pytest.raises(WeightsError, match="2 keys are missing from the weights: flat, rest"):
        load_state_dict(Flat(), {"first": state["first"]})


def test_tied_sets_are_ambiguous_all_the_same(tmp_path: Path) -> None:
    """A key that lacks because it is tied is no reason to prefer one set to another."""
    sets = {name: values(Language()) for name in ("model", "model_ema")}
    for state in sets.values():
        del state["lm_head.weight"]
    sets["model_ema"]["wte.weight"] += 1
    with pytest.raises(WeightsError, match=r"\(model, model_ema\)"):
        load_state_dict(Language(), sets)


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32, torch.float16])
def test_a_computed_buffer_in_the_file_is_no_surplus(dtype: torch.dtype) -> None:
    """Files from before a buffer ceased to be saved hold it still, in the dtype of then."""
    mask = torch.tril(torch.ones(6, 6)).to(dtype)
    state = {**values(Language()), "attn.bias_mask": mask, "attn.masked": torch.tensor(-1e4)}
    loaded = load_state_dict(Language(), state)
    assert (loaded.unexpected, loaded.num_loaded) == ((), 4)


@pytest.mark.parametrize("other", [torch.ones(6, 6), torch.tril(torch.ones(7, 7)), "a mask"])
def test_a_computed_buffer_of_other_values_is_left_over(other: Any) -> None:
    """What the module computes otherwise, or in another size, is refused by name."""
    state = {**values(Language()), "attn.bias_mask": other, "attn.unknown": torch.zeros(1)}
    names = "attn.bias_mask, attn.unknown" if isinstance(other, torch.Tensor) else "attn.unknown"
    with pytest.raises(WeightsError, match=rf"unknown to the model: {names};"):
        load_state_dict(Language(), state)


@pytest.mark.parametrize("word", ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module"])
def test_wrappers_of_inner_modules_are_seen_through(word: str, tmp_path: Path) -> None:
    """A wrapper's word amid a key is dropped, be it the file's or the module's."""
    net = small()
    wrapped = OrderedDict((key.replace("stem.", f"stem.{word}."), value) for key, value in net.state_dict().items())
    assert load_state_dict(small(), wrapped).renamed
    assert load_state_dict(small(), read_state_dict(save({"net": wrapped}, tmp_path / "w.pth")).tensors).num_loaded == 9
    outer = small()
    outer.stem = nn.Sequential(OrderedDict([(word, outer.stem)]))
    assert load_state_dict(outer, net.state_dict()).num_loaded == 9
    assert load_state_dict(outer, wrapped).num_loaded == 9


def test_a_key_without_the_wrapper_is_another_one() -> None:
    """A module that has a tensor inside a part called `module` and one beside it takes neither for the other."""
    outer = nn.Sequential(OrderedDict(stem=nn.Linear(2, 2)))
    outer.stem.module = nn.Linear(2, 2)
    assert load_state_dict(outer, outer.state_dict()).renamed == ()
    state = {key: value for key, value in outer.state_dict().items() if "module" in key}
    with pytest.raises(WeightsError, match=r"2 keys are missing from the weights: stem\.weight, stem\.bias;"):
        load_state_dict(outer, state)


def test_a_label_needs_no_words_of_wrappers() -> None:
    """The label that a message gives takes the keys that it is about."""
    net = small()
    state = {f"_orig_mod.{name}.module.{key}": value + (name == "b") for name in "ab"
             for key, value in net.state_dict().items()}  # fmt: skip
    with pytest.raises(WeightsError, match=r"\(a, b\)"):
        load_state_dict(small(), state)
    for part in ("a", "_orig_mod.a", "_orig_mod.a.module"):
        load_weights(model := small(), find_sets(state, "w.pth", part=part))
        assert equal(model.state_dict(), net.state_dict())


@pytest.mark.parametrize("glob", ["ema.stem.*", "ema.module.stem.*"])
def test_what_may_be_left_over_is_named_as_the_file_has_it(glob: str) -> None:
    """Or without the words of wrappers, as messages name it."""
    state = small().state_dict() | {"ema.module.stem.weight": torch.ones(3, 4)}
    with pytest.raises(WeightsError, match=r"unknown to the model: ema\.stem\.weight;"):
        load_state_dict(small(), state)
    assert load_state_dict(small(), state, ignore_unexpected=(glob,)).num_loaded == 9
