"""Folders of pictures as samples: a subfolder a class, prepared as the model was trained to see them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tasks.core.errors import SpecError, one_line, some
from tasks.core.onnx_files.lazy_reading import read_without_weights
from tasks.core.records.preprocessing import Preprocessing
from tasks.core.records.steps import TensorType

if TYPE_CHECKING:
    from PIL.Image import Image

DECLARED = "preprocessing.json"
"""In the folder: fields of `Preprocessing`, instead of what the file says."""
_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"))
BATCH_ROWS = 64
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_EXAMPLE = '{"resize": [256], "crop": [224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'

Picture = NDArray[Any]


def are_pictures(folder: Path) -> bool:
    """Is it a folder of pictures, or of folders of them?

    Args:
        folder: path, which need not exist.
    """
    return folder.is_dir() and not any(folder.glob("*.npz")) and next(_pictures(folder), None) is not None


def preprocessing_in(file: Path) -> Preprocessing:
    """What a proven file's own metadata says of its model.

    Args:
        file: an `.onnx` file.
    """
    facts = {entry.key.removeprefix("assay."): entry.value for entry in read_without_weights(file).metadata_props}
    return Preprocessing.from_facts(facts)


def read_pictures(
    folder: Path, inputs: Sequence[TensorType], known: Preprocessing
) -> Iterator[tuple[Mapping[str, Picture], NDArray[np.int64] | None]]:
    """Go through a folder: batches of at most 64 pictures of equal size, with their classes if they lie in subfolders.

    Args:
        folder: of pictures, or of a subfolder a class.
        inputs: of the file, one of them, [batch, channels, height, width].
        known: what the model was trained to see, unless the folder has a `preprocessing.json`.

    Raises:
        SpecError: nothing says how they are prepared, which classes they are, or one of them can't be read.
    """
    name, channels = _input(folder, inputs)
    said = _declared(folder) or known
    is_raw = inputs[0].dtype == "uint8"
    if not (said.resize or said.crop or said.mean) and not is_raw:
        raise SpecError(
            f"Nothing says what is done to the pictures of {folder}; put {DECLARED} into it, such as {_EXAMPLE}, or "
            f"give an .npz."
        )
    files = sorted(_pictures(folder))
    classes = _classes(folder, sorted({file.parent.name for file in files if file.parent != folder}), said.labels)
    if classes and any(file.parent == folder for file in files):
        raise SpecError(f"{folder} has pictures beside its subfolders, so that some have a class and others have none.")
    rows, numbers = list[Picture](), list[int]()
    for file in files:
        row = _prepared(file, said, mode=_MODES[channels], is_raw=is_raw)
        if rows and (len(rows) == BATCH_ROWS or rows[-1].shape != row.shape):
            yield {name: np.stack(rows)}, np.array(numbers) if classes else None
            rows, numbers = [], []
        rows.append(row)
        numbers.append(classes.get(file.parent.name, 0))
    yield {name: np.stack(rows)}, np.array(numbers) if classes else None


def _pictures(folder: Path) -> Iterator[Path]:
    yield from (file for pattern in ("*", "*/*") for file in folder.glob(pattern) if file.suffix.lower() in _SUFFIXES)


def _input(folder: Path, inputs: Sequence[TensorType]) -> tuple[str, int]:
    """Name and channels of the only input."""
    dims = inputs[0].dims
    if len(inputs) != 1 or len(dims) != 4 or dims[1] not in _MODES:
        said = ", ".join(map(str, inputs))
        raise SpecError(
            f"{folder} holds pictures, for files with one input [batch, channels, height, width] of 1, 3 or 4 "
            f"channels, but the inputs are {said}; give an .npz."
        )
    return inputs[0].name, int(dims[1])


def _declared(folder: Path) -> Preprocessing | None:
    file = folder / DECLARED
    if not file.is_file():
        return None
    try:
        return Preprocessing(**json.loads(file.read_text(encoding="utf-8")))
    except (ValidationError, ValueError, TypeError, OSError, RecursionError) as error:
        raise SpecError(f"{file} is none ({one_line(error)}); write it such as {_EXAMPLE}.") from error


def _classes(folder: Path, names: list[str], labels: Sequence[str]) -> dict[str, int]:
    """Number of the class that each subfolder stands for: its label's, its own, or its place in the alphabet."""
    if names and set(names) <= set(labels):
        return {name: labels.index(name) for name in names}
    if all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    if labels and len(names) != len(labels):
        strange = [name for name in names if name not in labels]
        raise SpecError(
            f"The subfolders {some(strange)} of {folder} are none of the model's {len(labels)} labels "
            f"({some(list(labels), most=4)}); name them by label or by the number of the class."
        )
    return {name: number for number, name in enumerate(names)}


def _prepared(file: Path, said: Preprocessing, *, mode: str, is_raw: bool) -> Picture:
    """One picture: [channels, height, width]."""
    from PIL import Image
    from torchvision.transforms import functional

    try:
        with Image.open(file) as opened:
            picture = _cut(opened.convert(mode), said)
    except Exception as error:  # Pillow's readers raise what they meet
        raise SpecError(f"{file} can't be read as a picture ({one_line(error)}).") from error
    row: Picture = functional.pil_to_tensor(picture).numpy()
    if is_raw:
        return row
    values = row.astype(np.float32) * np.float32(said.rescale or 1 / 255)
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (said.mean or (0.0,), said.std or (1.0,)))
    return np.asarray((values - mean) / std)


def _cut(picture: "Image", said: Preprocessing) -> "Image":
    """Resized and cut as torchvision does it, whose presets pretrained models were evaluated with."""
    from torchvision.transforms import InterpolationMode, functional

    if said.resize:
        mode = InterpolationMode(said.interpolation or "bilinear")
        picture = functional.resize(picture, list(said.resize), interpolation=mode)
    return functional.center_crop(picture, list(said.crop)) if said.crop else picture
