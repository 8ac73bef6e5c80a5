"""A small module, and files of weights as people have them."""

import argparse
import copy
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tasks.core.weights.checkpoint_files import read_sets
from tasks.core.weights.loading import Loaded, load_weights
from tasks.core.weights.state_dicts import StateDict, find_sets


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


def load_state_dict(model: nn.Module, tensors: Any, **ignored: tuple[str, ...]) -> Loaded:
    """Load one set of weights."""
    return load_weights(model, find_sets(tensors, "w.pth"), **ignored)


def read_state_dict(path: Path) -> StateDict:
    """Read a file that holds one set of weights."""
    (found,) = read_sets(path)
    return found


def equal(a: Any, b: Any) -> bool:
    """The same names and values."""
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def save(content: Any, path: Path) -> Path:
    """Write a checkpoint as training code does."""
    torch.save(content, path)
    return path


def averaged(net: nn.Module) -> nn.Module:
    """A copy of the module whose floats lie a little beside those that were trained."""
    other = small()
    other.load_state_dict({k: v + 0.125 if v.is_floating_point() else v for k, v in net.state_dict().items()})
    return other


def prefixed(prefix: str, tensors: Mapping[str, Any]) -> "OrderedDict[str, Any]":
    """A state_dict as that of a module which holds the module under this name."""
    return OrderedDict((f"{prefix}.{key}", value) for key, value in tensors.items())


def timm_checkpoint(net: nn.Module) -> dict[str, Any]:
    """What timm's CheckpointSaver writes with `--model-ema`."""
    return {
        "epoch": 7, "arch": "small", "state_dict": net.state_dict(), "optimizer": trained_optimizer(net), "version": 2,
        "args": argparse.Namespace(lr=0.1, mean=(0.5, 0.5), output=Path("out")), "amp_scaler": {"scale": 65536.0},
        "state_dict_ema": averaged(net).state_dict(), "metric": np.float64(78.5),
    }  # fmt: skip


def basicsr_checkpoint(net: nn.Module) -> dict[str, Any]:
    """What BasicSR's save_network writes of a generator with an average."""
    return {"params": net.state_dict(), "params_ema": averaged(net).state_dict()}


def references_checkpoint(net: nn.Module) -> dict[str, Any]:
    """What torchvision's references/classification/train.py writes with `--model-ema`."""
    ema = torch.optim.swa_utils.AveragedModel(averaged(net))
    return {
        "model": net.state_dict(), "optimizer": trained_optimizer(net), "lr_scheduler": {"base_lrs": [0.5]}, "epoch": 3,
        "args": argparse.Namespace(model="small"), "model_ema": ema.state_dict(), "scaler": {"scale": 1024.0},
    }  # fmt: skip


def yolo_checkpoint(net: nn.Module) -> dict[str, Any]:
    """A training state with `model` beside `ema`, as YOLO's forks write them with tensors only."""
    return {"epoch": 3, "best_fitness": np.float32(0.5), "model": net.state_dict(), "ema": averaged(net).state_dict(),
            "updates": 900, "optimizer": None, "date": "2024-03-15T10:00:00"}  # fmt: skip


def dino_checkpoint(net: nn.Module) -> dict[str, Any]:
    """What DINO's main_dino.py writes: the student wrapped for several GPUs, the teacher not, each with a head."""
    head = {"head.mlp.0.weight": torch.ones(8, 2), "head.last_layer.weight_v": torch.ones(5, 8)}
    return {
        "student": prefixed("module", prefixed("backbone", net.state_dict()) | head),
        "teacher": prefixed("backbone", averaged(net).state_dict()) | head,
        "optimizer": trained_optimizer(net), "epoch": 100, "args": argparse.Namespace(arch="small", patch_size=16),
        "dino_loss": OrderedDict(center=torch.zeros(1, 5)),
    }  # fmt: skip


def lightning_checkpoint(net: nn.Module) -> dict[str, Any]:
    """What Lightning's Trainer writes of a LightningModule with `self.model`."""
    return {
        "epoch": 4, "global_step": 500, "pytorch-lightning_version": "2.5.0", "loops": {"fit_loop": {"state_dict": {}}},
        "state_dict": prefixed("model", net.state_dict()),
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [trained_optimizer(net)], "lr_schedulers": [], "hyper_parameters": {"lr": 0.1},
    }  # fmt: skip


def trained_optimizer(net: nn.Module) -> dict[str, Any]:
    """The state of an optimizer after a step of a copy."""
    net = copy.deepcopy(net)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.randn(4, 4)).sum().backward()
    optimizer.step()
    return optimizer.state_dict()
