"""State dicts are read from whatever file people have, loaded strictly, and refused in one sentence."""

import argparse
import contextlib
import pickle
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from tasks.core.errors import WeightsError
from tasks.core.weights.loading import load_state_dict
from tasks.core.weights.state_dicts import find_tensors, read_state_dict
from tests.services.weights_server import HTML_PAGE

Write = Callable[[dict[str, torch.Tensor], Path], None]


def small() -> nn.Module:
    """A module with floats, an integer buffer and two levels of names."""
    torch.manual_seed(0)
    return nn.Sequential(OrderedDict(stem=nn.Linear(4, 3), norm=nn.BatchNorm1d(3), head=nn.Linear(3, 2)))


class Running:
    """An object whose unpickling runs code: it writes a file."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        """Write the file when loaded."""
        return (Path.write_text, (self.target, "it ran"))


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


def equal(a: Any, b: Any) -> bool:
    """The same names and values."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def save(content: Any, path: Path) -> Path:
    """Write a checkpoint as training code does."""
    torch.save(content, path)
    return path


def _zip(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path)


def _legacy(state: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def _safetensors(state: dict[str, torch.Tensor], path: Path) -> None:
    save_file(dict(state), path)


def _exported(state: dict[str, torch.Tensor], path: Path) -> None:
    model = small().eval()
    model.load_state_dict(state)
    program = torch.export.export(model, (torch.zeros(2, 4),))
    with path.open("wb") as file:
        torch.export.save(program, file)


@pytest.mark.parametrize("write", [_zip, _legacy, _safetensors, _exported])
@pytest.mark.parametrize("name", ["w.pth", "w.safetensors", "w.pt2", "w.bin", "weights"])
def test_formats_are_recognised_by_content(write: Write, name: str, tmp_path: Path) -> None:
    """The four formats are read under any suffix, and give the same tensors."""
    state = small().state_dict()
    write(state, tmp_path / name)
    assert equal(read_state_dict(tmp_path / name).tensors, state)


def test_an_exported_archive_runs_no_code(tmp_path: Path) -> None:
    """Of a torch.export archive only the weights are read: a pickle that hides in it is not loaded."""
    _exported(small().state_dict(), tmp_path / "clean.pt2")
    with zipfile.ZipFile(tmp_path / "clean.pt2") as clean, zipfile.ZipFile(tmp_path / "evil.pt2", "w") as evil:
        for name in clean.namelist():
            content = clean.read(name)
            evil.writestr(name, pickle.dumps(Running(tmp_path / "ran")) if "sample_inputs" in name else content)
    assert equal(read_state_dict(tmp_path / "evil.pt2").tensors, small().state_dict())
    assert not (tmp_path / "ran").exists()


def test_an_exported_archive_keeps_dtypes_and_strides(tmp_path: Path) -> None:
    """Half precision, integers, empty tensors and transposed memory come back as they were."""
    module = nn.Module()
    module.forward = lambda x: x + module.a.sum()  # type: ignore[method-assign]
    values = {
        "a": torch.randn(3, 4).t(), "b": torch.randn(5).bfloat16(), "c": torch.arange(6), "d": torch.zeros(0, 3),
        "e": torch.randn(2).half(), "f": torch.tensor(True), "g": torch.randn(10)[3:7],
    }  # fmt: skip
    for name, value in values.items():
        module.register_buffer(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of the slice, whose storage is saved whole
        torch.export.save(torch.export.export(module, (torch.zeros(2),)), tmp_path / "w.pt2")
    read = read_state_dict(tmp_path / "w.pt2").tensors
    assert equal(read, values)
    assert {k: v.dtype for k, v in read.items()} == {k: v.dtype for k, v in values.items()}


@pytest.mark.parametrize(
    "nesting",
    [("state_dict",), ("model_state_dict",), ("model_state",), ("model",), ("net",), ("ema",), ("my_own_key",),
     ("checkpoint", "model"), ("state", "state_dict")],
)  # fmt: skip
def test_finds_nested_weights(nesting: tuple[str, ...], tmp_path: Path) -> None:
    """Weights are found under the usual keys, under one's own, and two levels deep, and the keys are reported."""
    content: Any = small().state_dict()
    for key in reversed(nesting):
        content = {"epoch": 3, key: content, "vocabulary": ["a", "b"]}
    found = read_state_dict(save(content, tmp_path / "w.pth"))
    assert equal(found.tensors, small().state_dict())
    assert found.nesting == nesting


def test_optimizers_and_lone_tensors_do_not_distract(tmp_path: Path) -> None:
    """Beside the weights a checkpoint may hold optimizer state, a configuration called model, and lone tensors."""
    model = small()
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 4)).sum().backward()
    optimizer.step()
    content = {
        "optimizer": optimizer.state_dict(),
        "model": {"hidden": 128},
        "best_acc1": torch.tensor(76.1),
        "state_dict": model.state_dict(),
        "mean_std": {"mean": torch.zeros(3), "std": torch.ones(3)},
    }
    assert read_state_dict(save(content, tmp_path / "w.pth")).nesting == ("state_dict",)
    content["weights_of_mine"] = content.pop("state_dict")
    assert read_state_dict(save(content, tmp_path / "w.pth")).nesting == ("weights_of_mine",)


def test_several_sets_of_weights_are_ambiguous(tmp_path: Path) -> None:
    """Where two keys hold weights of the same names, neither is taken on a guess."""
    path = save({"student": small().state_dict(), "teacher": small().state_dict()}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"several sets of weights \(student, teacher\)"):
        read_state_dict(path)


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


def test_refuses_fractions_for_integers() -> None:
    """A float buffer loads into an integer one only where nothing is cut off."""
    state = small().state_dict()
    load_state_dict(small(), {**state, "norm.num_batches_tracked": torch.tensor(5.0)})
    with pytest.raises(WeightsError, match="fractions would be cut off"):
        load_state_dict(small(), {**state, "norm.num_batches_tracked": torch.tensor(5.5)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_widths_are_cast(dtype: torch.dtype) -> None:
    """Weights kept in another float width load into the model's own."""
    model = small()
    load_state_dict(model, {k: v.to(dtype) if v.is_floating_point() else v for k, v in small().state_dict().items()})
    assert model.stem.weight.dtype == torch.float32  # type: ignore[union-attr]


def test_a_checkpoint_that_needs_code_says_how_to_convert_it(tmp_path: Path) -> None:
    """A checkpoint with an argparse.Namespace is refused, and the way out in the message really works."""
    path = save({"args": argparse.Namespace(lr=0.1), "state_dict": small().state_dict()}, tmp_path / "w.pth")
    _refused_and_converted(path, tmp_path)


def test_a_pickled_module_says_how_to_convert_it(tmp_path: Path) -> None:
    """A whole module is refused, and the way out in the message really works."""
    _refused_and_converted(save(small(), tmp_path / "w.pth"), tmp_path)


@pytest.mark.parametrize("key", ["model", "my_key"])
def test_a_module_beside_others_says_how_to_convert_it(key: str, tmp_path: Path) -> None:
    """A module under a key of a checkpoint, as YOLO writes it, is refused with a way out that works."""
    _refused_and_converted(save({key: small(), "epoch": 3, "args": argparse.Namespace()}, tmp_path / "w.pth"), tmp_path)


def _refused_and_converted(path: Path, folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"needs code to be loaded \(\w.*convert it once: ") as caught:
        read_state_dict(path)
    text = str(caught.value)
    assert "\n" not in text
    command = text.partition("convert it once: ")[2].removesuffix(".")
    with contextlib.chdir(folder):
        exec(command, {"torch": torch})
    assert equal(read_state_dict(folder / "weights.pth").tensors, small().state_dict())


def test_pickles_run_no_code(tmp_path: Path) -> None:
    """A pickle that would run a function is refused before it does."""
    for legacy in (True, False):
        torch.save({"w": torch.ones(1), "x": Running(tmp_path / "ran")}, tmp_path / "evil.pth",
                   _use_new_zipfile_serialization=not legacy)  # fmt: skip
        with pytest.raises(WeightsError, match="needs code"):
            read_state_dict(tmp_path / "evil.pth")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(Running(tmp_path / "ran")))
    with pytest.raises(WeightsError):
        read_state_dict(tmp_path / "evil.pkl")
    assert not (tmp_path / "ran").exists()


def test_a_torchscript_archive_says_how_to_convert_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TorchScript archive is refused as code, and the way out in the message works."""
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(small().eval(), torch.zeros(2, 4)).save("w.pt")
        with pytest.raises(WeightsError, match="TorchScript") as caught:
            read_state_dict(Path("w.pt"))
        exec(str(caught.value).partition("save its weights with ")[2].removesuffix("."), {"torch": torch})
    assert equal(read_state_dict(Path("weights.pth")).tensors, small().state_dict())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (HTML_PAGE, "a web page"),
        (b"\n<html>nothing here</html>", "a web page"),
        (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "git lfs pull"),
        (b"", "0 bytes.*empty"),
        (b"PK\x03\x04", "truncated"),
        (b"not a checkpoint at all", "no checkpoint"),
        (b'{"error": "not found"}', "no checkpoint"),
        (b"\x00" * 4096, "no checkpoint"),
        (pickle.dumps([1, 2, 3]), "no checkpoint|no tensors"),
    ],
)
def test_what_is_no_checkpoint_is_one_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    """Web pages, Git LFS pointers, empty and foreign files are called what they are."""
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=rf"w\.pth .*({words})") as caught:
        read_state_dict(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [_zip, _legacy, _safetensors, _exported])
def test_damaged_files_are_one_sentence(write: Write, tmp_path: Path) -> None:
    """A file cut anywhere, or with a broken byte anywhere in its structure, never ends in another error."""
    path = tmp_path / "w.pth"
    write(small().state_dict(), path)
    content = path.read_bytes()
    for cut in range(0, len(content), len(content) // 40):
        path.write_bytes(content[:cut])
        with pytest.raises(WeightsError, match=r"w\.pth"):
            read_state_dict(path)
    for place in range(0, len(content), len(content) // 60):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            read_state_dict(path)
        except WeightsError as error:
            assert "\n" not in str(error)  # noqa: PT017  # a byte of a value may break without a trace


@pytest.mark.parametrize("content", [3, [torch.zeros(2)], {"epoch": 3}, {}, {"a": {"b": 3}}, torch.zeros(3)])
def test_a_file_without_named_tensors_says_what_it_holds(content: Any, tmp_path: Path) -> None:
    """A checkpoint without a state dict is told by what it holds instead."""
    with pytest.raises(WeightsError, match=r"w\.pth holds no tensors by name but "):
        read_state_dict(save(content, tmp_path / "w.pth"))


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


def test_find_tensors_takes_a_state_dict_as_it_is() -> None:
    """A plain state dict has no nesting."""
    assert find_tensors(small().state_dict(), "w.pth").nesting == ()
