"""Random weights exercise every block, and are the same everywhere."""

import hashlib
import math
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils._pytree import tree_leaves
from torchvision import models

from tasks.core.errors import ModelError
from tasks.core.model.random_weights import build_with_random_weights

ROOT = Path(__file__).parents[3]


class Residual(nn.Module):
    """A trunk and the branch `scale * layers(x)`, with the shapes of the features kept."""

    def __init__(self, layers: nn.Module, scale: torch.Tensor | None = None) -> None:
        super().__init__()
        self.layers = layers
        self.scale = None if scale is None else nn.Parameter(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the share of the branch for the test to read."""
        branch = self.layers(x) if self.scale is None else self.layers(x) * self.scale
        self.share = rms(branch) / rms(x + branch)
        return x + branch


def rms(tensor: torch.Tensor) -> float:
    """Give the root mean square of all elements."""
    return float(tensor.detach().double().square().mean().sqrt())


def noise(*shape: int, seed: int = 1) -> torch.Tensor:
    """Make unit normal noise that depends on nothing but `seed`."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def exercised(build: Callable[[], nn.Module], *inputs: torch.Tensor, seed: int = 0) -> nn.Module:
    """Build a module whose random weights exercise every block, on positional inputs."""
    return build_with_random_weights(build, lambda _: (inputs, {}), seed=seed)


def digest(module: nn.Module) -> str:
    """Hash every tensor of the state, bit by bit."""
    found = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def zoo(name: str) -> nn.Module:
    """Build a torchvision model without any download."""
    kwargs: dict[str, Any] = {"weights": None}
    if name in [*models.list_models(models.detection), *models.list_models(models.segmentation)]:
        kwargs["weights_backbone"] = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # GoogLeNet and Inception announce a new default
        return models.get_model(name, **kwargs)


def zoo_inputs(name: str, size: int, seed: int) -> tuple[Any, ...]:
    """Make a batch of two, or two images for a detector."""
    if name in models.list_models(models.detection):
        return (list(torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(seed))),)
    if name in models.list_models(models.optical_flow):
        return tuple(noise(2, 3, size, size, seed=seed + image).clamp(-1, 1) for image in (0, 100))
    frames = (16,) if name in models.list_models(models.video) else ()
    return (noise(2, 3, *frames, size, size, seed=seed),)


SCRIPT = """
import sys, torch
sys.path[:0] = [sys.argv[1], sys.argv[2]]
torch.set_num_threads(int(sys.argv[3]))
from test_random_weights import exercised, digest, noise, zoo
for name in sys.argv[5:]:
    print(digest(exercised(lambda: zoo(name), noise(2, 3, int(sys.argv[4]), int(sys.argv[4])))))
"""


def digests(*names: str, size: int) -> list[list[str]]:
    """Hash models that two new processes build, one with one thread and one with two."""
    here = str(Path(__file__).parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(ROOT), here, str(num_threads), str(size), *names],
            env=os.environ | {"OMP_NUM_THREADS": str(num_threads)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for num_threads in (1, 2)
    ]
    found = [process.communicate()[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    return found


@pytest.mark.slow
def test_same_seed_gives_the_same_tensors_at_one_and_two_threads() -> None:
    """The same seed gives bit-equal tensors in every process, whatever its number of threads."""
    names = ("mobilenet_v2", "convnext_tiny")
    here = [digest(exercised(lambda name=name: zoo(name), noise(2, 3, 64, 64))) for name in names]
    assert digests(*names, size=64) == [here, here]


def test_another_seed_gives_other_tensors() -> None:
    """Different seeds give different tensors, already in the first layer."""
    one, other = (exercised(lambda: zoo("resnet18"), noise(2, 3, 64, 64), seed=seed) for seed in (0, 1))
    assert not torch.equal(one.conv1.weight, other.conv1.weight)


def test_the_caller_keeps_its_generators_and_threads() -> None:
    """Neither the global generators nor the number of threads of the caller change."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy(), torch.get_num_threads()
    exercised(lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout()), noise(2, 4), seed=7)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == random.getstate()
    assert np.array_equal(before[2], np.random.get_state()[1])
    assert before[3] == torch.get_num_threads()


def test_threads_and_generators_come_back_after_an_error() -> None:
    """A factory that fails leaves the caller's number of threads as it was."""
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError):
        build_with_random_weights(lambda: nn.Linear(1 // 0, 2), lambda _: ((), {}), seed=0)
    assert torch.get_num_threads() == before


def test_inputs_that_the_module_refuses_are_one_sentence() -> None:
    """A wrong shape is said of the module, before anything is exported."""
    with pytest.raises(ModelError, match=r"Linear raised at the traced sizes .* mat1 and mat2 .*; correct --input"):
        build_with_random_weights(lambda: nn.Linear(6, 2), lambda _: ((torch.zeros(2, 8),), {}), seed=0)


def test_norms_take_the_statistics_of_their_own_input() -> None:
    """Each batch norm normalises what really reaches it, layer after layer."""

    def build() -> nn.Module:
        layers = [nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, affine=False)) for _ in range(3)]
        return nn.Sequential(nn.Conv2d(3, 8, 3), *layers)

    image = 100 * noise(2, 3, 16, 16)
    module = exercised(build, image)
    for layer in module:
        image = layer(image)
    assert image.mean(dim=(0, 2, 3)).abs().max() < 1e-3
    assert torch.allclose(image.std(dim=(0, 2, 3)), torch.ones(8), atol=0.01)


def test_a_frozen_norm_and_a_dead_channel_stay_finite() -> None:
    """Frozen norms take statistics too, and a channel of constant value is not blown up."""
    from torchvision.ops import FrozenBatchNorm2d

    image = torch.cat([noise(2, 2, 8, 8), torch.zeros(2, 1, 8, 8)], dim=1)
    module = exercised(lambda: nn.Sequential(FrozenBatchNorm2d(3), nn.BatchNorm2d(3)), image)
    output = module(noise(2, 3, 8, 8, seed=5))
    assert torch.isfinite(output).all()
    assert rms(output) < 100  # without a floor under the variance, 1 / eps = 100,000 after two norms


def test_silent_weights_are_redrawn_and_zero_biases_are_not() -> None:
    """A zero head and a zero last gamma get values; biases of zero and everything else stay as built."""

    def build() -> nn.Module:
        module = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.Linear(16, 4))
        for tensor in (module[0].bias, module[1].weight, module[2].weight, module[2].bias):
            nn.init.zeros_(tensor)
        return module

    module = exercised(build, noise(2, 16))
    assert rms(module[1].weight) > 0
    assert rms(module[2].weight) > 0
    assert not module[0].bias.any()
    assert not module[2].bias.any()
    torch.manual_seed(0)
    assert torch.equal(module[0].weight, build()[0].weight)


BRANCHES: dict[str, Callable[[], nn.Module]] = {
    "layer scale of 1e-6": lambda: Residual(nn.Linear(32, 32), torch.full((32,), 1e-6)),
    "ReZero": lambda: Residual(nn.Linear(32, 32), torch.zeros(1)),
    "loud norm": lambda: Residual(nn.Sequential(nn.LayerNorm(32), nn.Linear(32, 32)), torch.full((32,), 1e4)),
    "weight norm": lambda: Residual(nn.Sequential(weight_norm(quiet_linear(32)), nn.Dropout())),
    "ends in an activation": lambda: Residual(nn.Sequential(quiet_linear(32), nn.ReLU())),
    "nested": lambda: Residual(nn.Sequential(quiet_linear(32), Residual(quiet_linear(32)))),
}


def quiet_linear(size: int) -> nn.Linear:
    """Make a layer that is nearly silent, and not because its weights are tiny enough to be redrawn."""
    layer = nn.Linear(size, size)
    layer.weight.data.mul_(1e-2)
    layer.bias.data.mul_(1e-3)
    return layer


@pytest.mark.parametrize("branch", BRANCHES)
def test_every_residual_branch_is_heard(branch: str) -> None:
    """Branches far too quiet or too loud give 1 to 100 % of their sum, on inputs never seen too."""
    module = exercised(lambda: nn.Sequential(*[BRANCHES[branch]() for _ in range(3)]), noise(2, 32))
    module(noise(64, 32, seed=9))
    shares = [child.share for child in module.modules() if isinstance(child, Residual)]
    assert all(0.01 <= share <= 1 for share in shares), shares


@pytest.mark.parametrize("name", ["convnext_tiny", "mobilenet_v2", "resnet18"])
def test_every_residual_block_of_the_zoo_is_heard(name: str) -> None:
    """What a block adds to its input is 1 to 100 % of what it gives, measured at the module's border."""
    module, shares = exercised(lambda: zoo(name), noise(2, 3, 64, 64)), []

    def measure(block: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        shares.append(rms(output - inputs[0]) / rms(output))

    for block in module.modules():
        kind = type(block).__name__
        if kind == "CNBlock" or (kind == "InvertedResidual" and block.use_res_connect):
            block.register_forward_hook(measure)
        elif kind == "BasicBlock":  # it ends in a ReLU, so read the branch behind its last norm
            block.bn2.register_forward_hook(lambda _, __, branch, block=block: setattr(block, "branch", branch.clone()))
            block.register_forward_hook(lambda block, inputs, _: shares.append(share_of_basic_block(block, inputs[0])))
    module(noise(2, 3, 64, 64, seed=3))
    assert len(shares) >= 8
    assert all(0.01 <= share <= 1 for share in shares), shares


def share_of_basic_block(block: Any, x: torch.Tensor) -> float:
    """Give what the branch of a ResNet block contributes to the sum before its ReLU."""
    trunk = x if block.downsample is None else block.downsample(x)
    return rms(block.branch) / rms(block.branch + trunk)


def test_a_branch_without_parameters_leaves_the_trunk_alone() -> None:
    """What can't be rescaled is left as built, rather than rescaled at the trunk's parameters."""

    class Smooth(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Linear(8, 8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.trunk(x)
            return x + 1e-3 * x

    torch.manual_seed(0)
    stock = Smooth()
    assert torch.equal(exercised(Smooth, noise(2, 8)).trunk.weight, stock.trunk.weight)


def test_a_deep_plain_stack_still_hears_its_input() -> None:
    """Twelve layers with stock biases would forget their input; adjusted, the output moves by a hundredth or more."""

    def build() -> nn.Module:
        return nn.Sequential(*[nn.Sequential(nn.Linear(64, 64), nn.ReLU()) for _ in range(12)], nn.Linear(64, 4))

    module = exercised(build, noise(2, 64))
    one, other = module(noise(8, 64, seed=2)), module(noise(8, 64, seed=3))
    assert rms(one - other) / rms(one) > 1e-2
    assert 1e-2 < rms(one) < 1e2


def test_keywords_and_token_ids_work() -> None:
    """A transformer on integer ids, called by keyword, is exercised."""

    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(50, 32)
            self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), 2)
            self.head = nn.Linear(32, 5)
            nn.init.zeros_(self.head.weight)

        def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"tags": self.head(self.encoder(self.embed(ids)))}

    ids = torch.arange(20).reshape(2, 10)
    module = build_with_random_weights(Tagger, lambda _: ((), {"ids": ids}), seed=0)
    one, other = module(ids=ids)["tags"], module(ids=ids + 20)["tags"]
    assert rms(one - other) / rms(one) > 0.1


def test_nothing_else_of_the_module_changes() -> None:
    """The module is in eval mode, in float32, and keeps no trace of having run: attributes, counters, hooks."""

    class Stateful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(4)
            self.cache: list[torch.Tensor] = []
            self.register_buffer("num_calls", torch.zeros((), dtype=torch.int64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.last = x
            self.cache.append(x)
            self.num_calls += 1
            return self.norm(x)

    module = exercised(Stateful, noise(2, 4))
    assert not module.training
    assert not hasattr(module, "last")
    assert module.cache == []
    assert module.num_calls == 0
    assert module.norm.num_batches_tracked == 0
    assert not module.norm._forward_pre_hooks
    assert all(p.dtype == torch.float32 and p.requires_grad for p in module.parameters())


def test_a_norm_without_input_keeps_its_statistics() -> None:
    """As a mask head's where no box was found yet: it normalises nothing rather than raise."""

    class NoneFound(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm2d(3)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image.sum() + self.norm(image[:0]).sum()

    module = exercised(NoneFound, noise(2, 3, 8, 8))
    assert torch.equal(module.norm.running_mean, torch.zeros(3))
    assert torch.equal(module.norm.running_var, torch.ones(3))


def test_a_detector_finds_boxes() -> None:
    """A detector with random weights finds some boxes on its images, but not as many as it may give."""
    name = "ssdlite320_mobilenet_v3_large"
    images = zoo_inputs(name, 320, seed=1)
    module = build_with_random_weights(lambda: zoo(name), lambda _: (images, {}), seed=0)
    with torch.no_grad():
        counts = [len(found["scores"]) for found in module(*images)]
    assert all(0 < count < 300 for count in counts), counts


PANEL = {
    **dict.fromkeys(("resnet152", "mobilenet_v3_small", "convnext_tiny", "swin_t", "shufflenet_v2_x1_0"), 128),
    **dict.fromkeys(("raft_small", "densenet121"), 128),
    "vit_b_16": 224,
    "inception_v3": 299,
    **dict.fromkeys(("deeplabv3_mobilenet_v3_large", "r3d_18"), 112),
    "fasterrcnn_mobilenet_v3_large_320_fpn": 320,
}
"""A model of each kind; a sweep over the zoo has all."""


@pytest.mark.slow
@pytest.mark.parametrize("name", PANEL)
def test_the_zoo_is_exercised(name: str) -> None:
    """Outputs of torchvision's models have a sane scale and move with the input; detectors find boxes."""
    example = zoo_inputs(name, PANEL[name], seed=1)
    module = build_with_random_weights(lambda: zoo(name), lambda _: (example, {}), seed=0)
    with torch.no_grad():
        one, other = (module(*zoo_inputs(name, PANEL[name], seed=seed)) for seed in (2, 3))
    if isinstance(one, list) and isinstance(one[0], dict):
        assert all(len(found["scores"]) for found in [*one, *other])
        return
    for first, second in zip(tree_leaves(one), tree_leaves(other), strict=True):
        assert 1e-2 < rms(first) < 1e2
        assert math.isfinite(rms(second))
        assert rms(first - second) / rms(first) > 0.01


@pytest.mark.slow
def test_a_transformer_is_the_same_at_one_and_two_threads() -> None:
    """ViT too: its stock draws (erfinv) depend on the number of threads unless that is held."""
    one, two = digests("vit_b_16", size=224)
    assert one == two
    assert len(one) == 1


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_stay_finite(kind: type[nn.Module]) -> None:
    """Weights that are met at every step of time are rescaled once, not once a step."""
    example = torch.randn(2, 7, 8, generator=torch.Generator().manual_seed(0))
    module = build_with_random_weights(lambda: kind(8, 16, batch_first=True), lambda _: ((example,), {}), seed=0)
    assert all(parameter.abs().max() < 10 for parameter in module.parameters())
