"""Weights in several files are read as one; a folder that holds none is called what it is."""

import json
import os
import re
import shlex
import subprocess
import sys
import warnings
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import save_file

from tasks.core.errors import WeightsError
from tasks.core.weights.checkpoint_files import read_sets
from tasks.core.weights.folders import weights_file, weights_sha256
from tests.core.weights.checkpoints import equal, read_state_dict, save, small


def sharded(folder: Path, *, kind: str = "safetensors", num_shards: int = 3) -> Path:
    """Write weights as save_pretrained of transformers does where they exceed its max_shard_size."""
    folder.mkdir(exist_ok=True)
    stem = {"safetensors": "model", "bin": "pytorch_model"}[kind]
    state, weight_map = dict(small().state_dict()), {}
    for index in range(num_shards):
        name = f"{stem}-{index + 1:05}-of-{num_shards:05}.{kind}"
        shard = {key: state[key] for key in list(state)[index::num_shards]}
        weight_map |= dict.fromkeys(shard, name)
        save_file(shard, folder / name, {"format": "pt"}) if kind == "safetensors" else save(shard, folder / name)
    (folder / "config.json").write_text("{}")
    index = folder / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 100}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_read_as_one(kind: str, tmp_path: Path) -> None:
    """The index, and the folder that holds it, stand for all shards."""
    index = sharded(tmp_path / "net", kind=kind)
    for given in (index, index.parent):
        assert equal(dict(sorted(read_state_dict(given).tensors.items())), dict(sorted(small().state_dict().items())))
    assert weights_file(index.parent) == index
    before = weights_sha256(index.parent)
    (shard,) = tmp_path.glob("net/*-00002-of-*")
    shard.write_bytes(shard.read_bytes() + b" ")
    assert weights_sha256(index.parent) != before


def test_a_single_shard_is_refused(tmp_path: Path) -> None:
    """One shard is a part of the weights, and the message names the index; a single one of one is whole."""
    sharded(tmp_path / "net")
    with pytest.raises(WeightsError, match=r"00002-of-00003\.safetensors is shard 2 of 3; give the folder"):
        read_sets(tmp_path / "net" / "model-00002-of-00003.safetensors")
    sharded(tmp_path / "one", num_shards=1)
    assert len(read_state_dict(tmp_path / "one" / "model-00001-of-00001.safetensors").tensors) == 9


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    """A download that stopped halfway is told by what lacks; an index that is none, as such."""
    index = sharded(tmp_path / "net")
    (index.parent / "model-00003-of-00003.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"shards that are not there: model-00003-of-00003\.safetensors"):
        read_sets(index.parent)
    for text in ("{}", "[]", "no JSON"):
        index.write_text(text)
        with pytest.raises(WeightsError, match="is no index of shards"):
            read_sets(index.parent)


def test_an_index_leads_nowhere_else(tmp_path: Path) -> None:
    """Names of shards are taken in the index's own folder, whatever path they have."""
    index = sharded(tmp_path / "net")
    text = index.read_text()
    index.write_text(text.replace("model-00001", "../other/model-00001"))
    assert len(read_state_dict(index).tensors) == 9


def test_a_folder_of_hugging_face_gives_its_weights(tmp_path: Path) -> None:
    """Of two formats the one that transformers takes; optimizers and arguments of a trainer are not looked at."""
    save_file(dict(small().state_dict()), tmp_path / "model.safetensors")
    for name in ("pytorch_model.bin", "optimizer.pt", "training_args.bin", "rng_state.pth"):
        (tmp_path / name).write_bytes(b"not looked at")
    assert weights_file(tmp_path).name == "model.safetensors"
    assert equal(read_state_dict(tmp_path).tensors, small().state_dict())


@pytest.mark.parametrize("other", ["model_1.safetensors", "adapter_model.safetensors"])
def test_a_second_network_in_a_folder_is_not_passed_over(other: str, tmp_path: Path) -> None:
    """What accelerate saved of two models, or peft beside the whole one, is a choice."""
    for name in ("model.safetensors", other):
        save_file(dict(small().state_dict()), tmp_path / name)
    (tmp_path / "optimizer_1.bin").touch()
    with pytest.raises(WeightsError, match=rf"holds model\.safetensors and {re.escape(other)}, .*; name the one"):
        read_sets(tmp_path)
    assert read_sets(tmp_path / "model.safetensors")


def test_shards_agree(tmp_path: Path) -> None:
    """A shard that was left from another run does not overwrite a tensor; tied ones may lie in two."""
    index, state = sharded(tmp_path / "net"), small().state_dict()
    shard = index.parent / "model-00003-of-00003.safetensors"
    for value, fits in ((state["stem.weight"], True), (state["stem.weight"] + 1, False)):
        save_file({key: state[key] for key in list(state)[2::3]} | {"stem.weight": value}, shard)
        with nullcontext() if fits else pytest.raises(WeightsError, match=r"stem\.weight has another value in model-0"):
            assert len(read_state_dict(index).tensors) == 9


def test_a_folder_with_one_weights_file_stands_for_it(tmp_path: Path) -> None:
    """One file is no choice; of several, or none, the folder says what it has."""
    with pytest.raises(WeightsError, match=r"should hold one weights file .* has none"):
        read_sets(tmp_path)
    (tmp_path / "notes.txt").write_text("best run")
    save(small().state_dict(), tmp_path / "last.ckpt")
    assert weights_file(tmp_path).name == "last.ckpt"
    save(small().state_dict(), tmp_path / "epoch=3.ckpt")
    with pytest.raises(WeightsError, match=r"has epoch=3\.ckpt, last\.ckpt; name the one"):
        read_sets(tmp_path)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_distributed_checkpoint_says_how_to_convert_it(tmp_path: Path) -> None:
    """A folder of torch.distributed.checkpoint is refused for its pickle, and the command in the message works."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save({"model": small().state_dict(), "step": 3}, checkpoint_id=tmp_path / "my run")
    with pytest.raises(WeightsError, match=r"torch\.distributed\.checkpoint") as caught:
        read_sets(tmp_path / "my run")
    command = shlex.split(str(caught.value).split("`")[1])
    assert command[0] == "python"
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True, env=environment, capture_output=True)
    assert equal(read_state_dict(tmp_path / "weights.pth").tensors, small().state_dict())


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["zero_to_fp32.py", "latest", "global_step5/mp_rank_00_model_states.pt"], "DeepSpeed; join it with `python"),
        (["mp_rank_00_model_states.pt", "zero_pp_rank_0_mp_rank_00_optim_states.pt"], "part of a checkpoint of Deep"),
        (["adapter_config.json", "adapter_model.safetensors"], r"adapter \(LoRA\).*merge_and_unload"),
        (["saved_model.pb", "variables/variables.index"], "SavedModel of TensorFlow"),
        (["blobs/0123", "refs/main", "snapshots/0123abcd/model.safetensors"], "give the folder of .*snapshots/0123"),
        (["__0_0.distcp", "__1_0.distcp"], r"torch\.distributed\.checkpoint"),
    ],
)  # fmt: skip
def test_a_folder_of_other_tools_is_called_what_it_is(files: list[str], words: str, tmp_path: Path) -> None:
    """Folders that other trainers write are told by their files, with the way out."""
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match=words) as caught:
        read_sets(tmp_path)
    assert "\n" not in str(caught.value)


def test_sets_are_found_across_shards(tmp_path: Path) -> None:
    """Shards of a dict of dicts are no case of theirs: keys lie flat, and part of them can be chosen."""
    state: dict[str, Any] = {f"model.{key}": value for key, value in small().state_dict().items()}
    save_file({**state, "lm_head.weight": torch.ones(1, 2)}, tmp_path / "model.safetensors")
    (found,) = read_sets(tmp_path, part="model")
    assert equal(found.tensors, small().state_dict())
