"""Tell from its text what kind of weights a spec asks for; torch is not needed for that."""

import re
from pathlib import Path

from tasks.core.errors import WeightsError
from tasks.core.families.registry import family_of
from tasks.core.spec.export_spec import ResolvedSpec

WEIGHTS_CHOICES = "a file, a URL, runs:/…, models:/…, random[:SEED] or as-built"
FILE_SUFFIXES = (".pth", ".pt", ".pt2", ".safetensors", ".ckpt", ".bin", ".tar")


def weights_kind(spec: ResolvedSpec) -> str:
    """Tell the kind: `file`, `url`, `mlflow`, `random`, `as-built`, `state_dict`, or the family that names them."""
    text = spec.weights
    if not isinstance(text, str):
        return "state_dict"
    if text == "as-built":
        return "as-built"
    if text == "random" or text.startswith("random:"):
        return "random"
    if text.startswith(("http://", "https://")):
        return "url"
    if text.startswith(("runs:/", "models:/")):
        return "mlflow"
    looks_like_file = "/" in text or Path(text).suffix.lower() in FILE_SUFFIXES or Path(text).is_file()
    family = family_of(spec.model)
    return family.name if family.names_weights and not looks_like_file else "file"


def random_seed(text: str) -> int:
    """The seed of `random[:SEED]`; without one it is 0.

    Raises:
        WeightsError: the seed is no number.
    """
    seed = text.partition(":")[2] or "0"
    if not re.fullmatch(r"\d{1,9}", seed):
        raise WeightsError(f"{text!r} has no seed; write random or random:NUMBER.")
    return int(seed)


def weights_file(text: str) -> Path:
    """The absolute path of weights given as a file.

    Raises:
        WeightsError: there is no such file.
    """
    path = Path(text).expanduser().absolute()  # not resolved: a link's own name is the one that was asked for
    if not path.is_file():
        raise WeightsError(f"There is no weights file {path}; --weights takes {WEIGHTS_CHOICES}.")
    return path
