"""Of several sets of weights in a file the one that fits is taken and said; where several fit, none is."""

import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tasks.core.errors import WeightsError
from tasks.core.weights.checkpoint_files import read_sets
from tasks.core.weights.loading import Loaded, load_weights
from tasks.core.weights.state_dicts import find_sets
from tests.core.weights.checkpoints import (
    averaged,
    basicsr_checkpoint,
    dino_checkpoint,
    equal,
    lightning_checkpoint,
    prefixed,
    references_checkpoint,
    save,
    small,
    timm_checkpoint,
    trained_optimizer,
    yolo_checkpoint,
)

Layout = Callable[[nn.Module], dict[str, Any]]


def load(path: Path, model: nn.Module, part: str = "", **ignored: tuple[str, ...]) -> Loaded:
    """Load a file into a module."""
    return load_weights(model, read_sets(path, part=part), **ignored)


def blank() -> nn.Module:
    """The small module with other values."""
    model = small()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


def generator() -> nn.Module:
    """A network that makes four numbers of two."""
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 4))


def discriminator() -> nn.Module:
    """A network whose keys are the generator's, in other shapes."""
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


def two_parts() -> nn.Module:
    """A module of an encoder, a decoder, and a parameter of its own."""
    model = nn.Sequential(OrderedDict(encoder=nn.Linear(4, 5), decoder=nn.Linear(5, 3)))
    model.register_parameter("scale", nn.Parameter(torch.full((1,), 2.0)))
    return model


@pytest.mark.parametrize(
    ("layout", "raw", "ema"),
    [
        (timm_checkpoint, "state_dict", "state_dict_ema"),
        (basicsr_checkpoint, "params", "params_ema"),
        (references_checkpoint, "model", "model_ema.module"),
        (yolo_checkpoint, "model", "ema"),
        (dino_checkpoint, "student.module.backbone", "teacher.backbone"),
        (lambda net: {"checkpoint": {"net": net.state_dict(), "swa": averaged(net).state_dict()}},
         "checkpoint.net", "checkpoint.swa"),
        (lambda net: {"state_dict": prefixed("student", net.state_dict()) |
                      prefixed("teacher", averaged(net).state_dict())}, "state_dict.student", "state_dict.teacher"),
        (lambda net: {"model": torch.nn.DataParallel(net).state_dict(), "model_ema_compiled":
                      torch.compile(averaged(net)).state_dict()}, "model.module", "model_ema_compiled"),
    ],
)  # fmt: skip
def test_raw_and_averaged_weights_are_never_guessed(layout: Layout, raw: str, ema: str, tmp_path: Path) -> None:
    """Where both sets fit, the message names both, and each of its names takes just that one."""
    net = small()
    path = save(layout(net), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=rf"several sets .*\({re.escape(raw)}, {re.escape(ema)}\).*FILE#") as caught:
        load(path, blank())
    assert str(caught.value).endswith(f"as FILE#{ema}.")
    for part, expected in ((raw, net), (ema, averaged(net))):
        model = blank()
        assert load(path, model, part).nesting[0] == part.split(".")[0]
        assert equal(model.state_dict(), expected.state_dict())


def test_a_glob_for_all_keys_is_no_choice(tmp_path: Path) -> None:
    """`--ignore-unexpected '*'` does not decide between two sets, be they in one dict or in two."""
    net = small()
    for content in (dino_checkpoint(net), net.state_dict() | prefixed("ema", averaged(net).state_dict())):
        path = save(content, tmp_path / "w.pth")
        with pytest.raises(WeightsError, match="several sets"):
            load(path, blank(), ignore_unexpected=("*",))
    model = blank()
    load(path, model, ignore_unexpected=("ema.*",))
    assert equal(model.state_dict(), net.state_dict())


@pytest.mark.parametrize("fitting", [(99,), (3, 99)])
def test_of_many_layers_those_that_fit_are_found(fitting: tuple[int, ...]) -> None:
    """However many others have the same keys in other shapes, one that fits is taken, and of two none."""
    layers = (prefixed(f"l{index}", nn.Linear(2 if index in fitting else 3, 1).state_dict()) for index in range(100))
    content = {key: value for layer in layers for key, value in layer.items()}
    with nullcontext() if len(fitting) == 1 else pytest.raises(WeightsError, match=r"several sets .*\(l3, l99\)"):
        assert load_weights(nn.Linear(2, 1), find_sets(content, "w.pth"), ignore_unexpected=("*",)).num_loaded == 2


def test_equal_sets_are_no_choice(tmp_path: Path) -> None:
    """An average that was never updated is the same weights twice."""
    path = save({"state_dict": small().state_dict(), "state_dict_ema": small().state_dict()}, tmp_path / "w.pth")
    assert load(path, blank()).nesting == ("state_dict",)


@pytest.mark.parametrize("part", ["generator", "discriminator"])
@pytest.mark.parametrize("is_wrapped", [False, True])
def test_of_two_networks_the_one_that_fits_is_taken_and_said(part: str, is_wrapped: bool, tmp_path: Path) -> None:
    """A GAN's file gives the network that the model is, whichever has more tensors, and the note says so."""
    nets = {"generator": generator(), "discriminator": discriminator()}
    content: dict[str, Any] = {name: net.state_dict() for name, net in nets.items()}
    if is_wrapped:
        content = {name: prefixed("module", state) for name, state in content.items()}
    path = save(content | {"steps": 5}, tmp_path / "w.pth")
    model = generator() if part == "generator" else discriminator()
    loaded = load(path, model)
    other = "discriminator" if part == "generator" else "generator"
    assert equal(model.state_dict(), nets[part].state_dict())
    assert loaded.chosen == part
    (note,) = loaded.notes
    assert re.fullmatch(rf"of several sets of weights {part}(\.module)? is taken, the one that fits; not {other}", note)


def test_of_two_networks_in_one_dict_a_part_is_asked_for(tmp_path: Path) -> None:
    """What else a file holds stays an error, whose label takes the part that fits."""
    content = prefixed("generator", generator().state_dict()) | prefixed("discriminator", discriminator().state_dict())
    path = save({"state_dict": content}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"unknown to the model: discriminator.*take .* FILE#state_dict\.generator,"):
        load(path, generator())
    assert load(path, generator(), "state_dict.generator").num_loaded == 4


def test_encoders_and_decoders_of_one_shape_are_ambiguous(tmp_path: Path) -> None:
    """Two parts with the same keys and shapes are told apart by nobody but the user."""
    net = small()
    content = {"encoder": net.state_dict(), "decoder": averaged(net).state_dict()}
    with pytest.raises(WeightsError, match=r"\(encoder, decoder\)"):
        load(save(content, tmp_path / "w.pth"), blank())


@pytest.mark.parametrize("word", ["", "module."])
def test_parts_in_dicts_of_their_own_are_joined(word: str, tmp_path: Path) -> None:
    """An encoder and a decoder that were saved side by side are one set of the module that has both, and no others."""
    net, model = two_parts(), two_parts()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    content: dict[str, Any] = {"scale": net.state_dict()["scale"], "epoch": 3, "critic": discriminator().state_dict()}
    content |= {name: {f"{word}{key}": value for key, value in part.state_dict().items()}
                for name, part in net.named_children()}  # fmt: skip
    loaded = load(save({"nets": content}, tmp_path / "w.pth"), model)
    assert equal(model.state_dict(), net.state_dict())
    assert loaded.nesting == ("nets",)
    (note,) = loaded.notes
    assert "nets.encoder with nets.decoder is taken, the one that fits; not nets.critic" in note
    del content["scale"]
    with pytest.raises(WeightsError, match="1 keys are missing from the weights: scale;"):
        load(save(content, tmp_path / "w.pth"), model)
    content["scale"] = torch.ones(1)
    content["ema"] = {name: content[name] for name in ("encoder", "decoder")} | {"scale": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"several sets .*\(the outermost keys, ema\)"):
        load(save(content, tmp_path / "w.pth"), model)


def test_an_average_without_names_is_said(tmp_path: Path) -> None:
    """A list of averaged parameters, as torch_ema keeps it, can't be loaded, and the note says that it was not."""
    net = small()
    content = {"model": net.state_dict(), "ema": {"decay": 0.999, "shadow_params": list(averaged(net).parameters())}}
    loaded = load(save(content, tmp_path / "w.pth"), blank())
    assert loaded.notes == ("of several sets of weights model is taken, the one that fits; not ema.shadow_params",)
    with pytest.raises(WeightsError, match="holds no tensors by name but ema"):
        load(save({"ema": content["ema"]}, tmp_path / "w.pth"), blank())


def test_lightnings_file_holds_one_set(tmp_path: Path) -> None:
    """Scores of callbacks, loops and optimizers are no choice worth a note."""
    net, model = small(), blank()
    loaded = load(save(lightning_checkpoint(net), tmp_path / "w.ckpt"), model)
    assert (loaded.nesting, loaded.renamed, loaded.notes) == (("state_dict",), ("model.* -> *",), ())
    assert equal(model.state_dict(), net.state_dict())


def test_optimizers_and_lone_tensors_do_not_distract(tmp_path: Path) -> None:
    """Beside the weights a checkpoint may hold optimizer state, a configuration called model, and lone tensors."""
    net = small()
    content = {
        "optimizer": trained_optimizer(net),
        "model": {"hidden": 128},
        "best_acc1": torch.tensor(76.1),
        "state_dict": net.state_dict(),
        "mean_std": {"mean": torch.zeros(3), "std": torch.ones(3)},
    }
    assert load(save(content, tmp_path / "w.pth"), blank()).nesting == ("state_dict",)
    content["weights_of_mine"] = content.pop("state_dict")
    assert load(save(content, tmp_path / "w.pth"), blank()).nesting == ("weights_of_mine",)
    for name in ("optimizer", "optim_g", "g_optimizer_state_dict", "optimizers"):
        content = {"net": net.state_dict(), name: {"exp_avg": averaged(net).state_dict(), "step": torch.tensor(9)}}
        assert load(save(content, tmp_path / "w.pth"), blank()).notes == ()


def test_a_trained_net_goes_into_its_wrapper() -> None:
    """Weights of the net alone load into a module that wraps it; what only the wrapper has is missing."""
    net, wrapper = small(), nn.Sequential(OrderedDict(net=blank()))
    loaded = load_weights(wrapper, find_sets(prefixed("module", net.state_dict()), "w.pth"))
    assert loaded.renamed == ("module.* -> net.*",)
    assert equal(wrapper.net.state_dict(), net.state_dict())  # type: ignore[union-attr]
    wrapper.register_buffer("mean", torch.zeros(3))
    with pytest.raises(WeightsError, match="1 keys are missing from the weights: mean;"):
        load_weights(wrapper, find_sets(net.state_dict(), "w.pth"))


def test_keys_that_only_a_hook_knows_are_no_way_around(tmp_path: Path) -> None:
    """A hook loads the only set of its kind; of two that its keys can't tell apart none is taken."""

    class Old(nn.Linear):
        def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
            for key in ("weight", "bias"):
                if f"{prefix}fc_{key}" in state_dict:
                    state_dict[f"{prefix}{key}"] = state_dict.pop(f"{prefix}fc_{key}")
            super()._load_from_state_dict(state_dict, prefix, *args)

    old = {"fc_weight": torch.ones(3, 4), "fc_bias": torch.ones(3)}
    assert load(save({"model": old, "epoch": 3}, tmp_path / "w.pth"), Old(4, 3)).num_loaded == 2
    new = {key: value + 1 for key, value in old.items()}
    with pytest.raises(WeightsError, match=r"several sets .*\(model, model_ema\)"):
        load(save({"model": old, "model_ema": new}, tmp_path / "w.pth"), Old(4, 3))
    model = Old(4, 3)
    load(tmp_path / "w.pth", model, "model_ema")
    assert torch.equal(model.bias, new["fc_bias"])


def test_a_label_that_is_not_there_lists_those_that_are(tmp_path: Path) -> None:
    """A wrong label is refused with the right ones, or with the words that keys begin with."""
    path = save(timm_checkpoint(small()), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth has no weights called 'ema'; it has state_dict, state_dict_ema\."):
        load(path, blank(), "ema")
    with pytest.raises(WeightsError, match=r"no weights called 'net'; it has head, norm, stem"):
        load(save(small().state_dict(), path), blank(), "net")


def test_modules_in_memory_are_sets_too() -> None:
    """A dict of live modules, as YOLO keeps them, is no other case."""
    net = small()
    with pytest.raises(WeightsError, match=r"\(model, ema\)"):
        load_weights(blank(), find_sets({"model": net, "ema": averaged(net)}, "memory"))
    assert load_weights(blank(), find_sets({"model": net, "extra": nn.Linear(1, 1)}, "memory")).chosen == "model"
