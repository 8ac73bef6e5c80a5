"""SHA-256 of files and of tensors."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def file_sha256(path: Path) -> str:
    """Hash the bytes of a file, as 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_sha256(state: Mapping[str, Any]) -> str:
    """Hash names, dtypes, shapes and values of the tensors of a state_dict, sorted by name, as 64 hex digits.

    Unlike the bytes of `torch.save`, the hash is the same however the tensors are stored.
    """
    import torch

    digest = hashlib.sha256()
    tensors = {name: value.detach() for name, value in state.items() if isinstance(value, torch.Tensor)}
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        flat = tensor.to_dense() if tensor.layout != torch.strided else tensor
        flat = flat.dequantize() if flat.is_quantized else flat
        digest.update(flat.cpu().resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
