"""The tolerances that others use, asked as their users ask them: on one random input of the traced sizes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from tasks.core.arrays import Array
from tasks.core.forward.outputs import flatten
from tasks.core.forward.precision import run_float32
from tasks.core.inputs.probes import Probe, draw
from tasks.core.runtime import sessions
from tests.models.panel import Subject


def _max_difference(found: Array, wanted: Array) -> float:
    return float(np.abs(found.astype(np.float64) - wanted).max()) if wanted.size else 0.0


def _torch_verify(found: Array, wanted: Array) -> bool:
    """What `torch.onnx.export(verify=True)` accepts.

    Source:
        torch 2.14, torch/onnx/_internal/exporter/_core.py ("Verify output accuracy"): max_abs_diff < 5e-3 and
        max_rel_diff < 1e-1; the relative one is divided by |expected| + 1e-7 (_verification.py).
    """
    wanted = wanted.astype(np.float64)
    relative = np.abs(found - wanted) / (np.abs(wanted) + 1e-7)
    return _max_difference(found, wanted) < 5e-3 and (not relative.size or bool(relative.max() < 1e-1))


def _torch_options(found: Array, wanted: Array) -> bool:
    """What `torch.onnx.verification.VerificationOptions` accepts: rtol 1e-3, atol 1e-7.

    Source:
        torch 2.14, torch/onnx/_internal/torchscript_exporter/verification.py.
    """
    return bool(np.allclose(found, wanted, rtol=1e-3, atol=1e-7))


PEERS: dict[str, Callable[[Array, Array], bool]] = {
    "allclose(rtol=1e-3, atol=1e-5)": lambda a, b: bool(np.allclose(a, b, rtol=1e-3, atol=1e-5)),
    "allclose(rtol=1e-5, atol=1e-5)": lambda a, b: bool(np.allclose(a, b, rtol=1e-5, atol=1e-5)),
    "assert_almost_equal(decimal=3)": lambda a, b: _max_difference(a, b) < 1.5e-3,
    "torch.onnx.export(verify=True)": _torch_verify,
    "torch.onnx VerificationOptions": _torch_options,
    "max. absolute difference 0.1": lambda a, b: _max_difference(a, b) < 0.1,
}
"""Do two outputs agree? Each is asked on one random normal input of the traced sizes, as its users do."""


class PeerProbe:
    """One random normal input of the traced sizes, and what module and file answer."""

    def __init__(self, subject: Subject, *, seed: int = 777) -> None:
        inputs = subject.inputs
        specs = tuple(
            spec.model_copy(update={"low": None, "high": None}) if spec.dtype == "float32" else spec
            for spec in inputs.specs
        )
        self.sizes = inputs.probes[0].sizes
        self.arrays = draw(specs, Probe(family="normal", seed=seed, sizes=self.sizes))
        args, kwargs = inputs.arguments(self.arrays)
        output = run_float32(subject.model, args, kwargs)
        self.wanted = [tensor.detach().numpy() for _, tensor in flatten(output)]
        self.fixed = [
            [self.sizes.get(d) if isinstance(d, str) else d for d in value.dims] for value in subject.graph.outputs
        ]
        self.found: list[Array] = []

    def runs(self, path: Path) -> bool:
        """Does ONNX Runtime take the file, and give outputs of the sizes that it declared?"""
        try:
            (self.found,) = sessions.answers(path, [self.arrays], threads=1)
        except sessions.SessionError:
            self.found = []
            return False
        return len(self.found) == len(self.wanted) and all(
            a.dtype == b.dtype
            and a.ndim == b.ndim
            and all(size in (None, n) for size, n in zip(fixed, a.shape, strict=True))
            for a, b, fixed in zip(self.found, self.wanted, self.fixed, strict=True)
        )

    def caught_by(self) -> set[str]:
        """The peers that see a difference in what the file answered last."""
        if not self.found:
            return set(PEERS)
        pairs = list(zip(self.found, self.wanted, strict=True))
        if any(a.shape != b.shape for a, b in pairs):
            return set(PEERS)
        return {name for name, agree in PEERS.items() if not all(agree(a, b) for a, b in pairs)}
