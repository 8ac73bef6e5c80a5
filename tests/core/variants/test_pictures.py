"""Pictures become the arrays that the model was trained on, with the class of their folder; what lacks is said."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from tasks.core.errors import SpecError
from tasks.core.records.preprocessing import Preprocessing
from tasks.core.records.steps import TensorType
from tasks.core.variants.data import Data
from tasks.core.variants.pictures import preprocessing_in

INPUTS = (TensorType(name="x", dtype="float32", dims=("batch", 3, 24, 24)),)
KNOWN = Preprocessing(
    labels=("cat", "dog", "fox"), resize=(32,), crop=(24,), interpolation="bicubic", mean=(0.5, 0.4, 0.3),
    std=(0.2, 0.3, 0.4),
)  # fmt: skip


def put(path: Path, *, size: tuple[int, int] = (50, 40), seed: int = 0, mode: str = "RGB") -> Path:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of two of three classes."""
    for seed, (label, size) in enumerate((("fox", (50, 40)), ("cat", (33, 60)), ("cat", (32, 32)))):
        put(tmp_path / "pictures" / label / f"{seed}.png", size=size, seed=seed)
    return tmp_path / "pictures"


def test_pictures_are_prepared_as_torchvision_does(folder: Path) -> None:
    """Resized, cut, scaled: the very numbers of the preset that its weights were evaluated with; gray ones are RGB."""
    put(folder / "dog" / "9.png", mode="L")
    means = {"mean": KNOWN.mean, "std": KNOWN.std}
    preset = ImageClassification(crop_size=24, resize_size=32, interpolation=InterpolationMode.BICUBIC, **means)
    files = sorted(folder.glob("*/*.png"))
    wanted = torch.stack([preset(Image.open(file).convert("RGB")) for file in files]).numpy()
    (batch,) = Data(str(folder), INPUTS, KNOWN)
    np.testing.assert_allclose(batch.arrays["x"], wanted, rtol=0, atol=1e-6)
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 0, 1, 2]
    assert Data(str(folder), INPUTS, KNOWN).record.origin == "pictures"


@pytest.mark.parametrize(
    ("names", "labels", "numbers"),
    [
        (("fox", "cat"), ("cat", "dog", "fox"), [0, 2]),  # by label
        (("7", "10"), (), [7, 10]),  # by number
        (("n02", "n01", "n03"), ("cat", "dog", "fox"), [0, 1, 2]),  # as many as labels: in their order
        (("b", "a"), (), [0, 1]),  # in their order
    ],
)
def test_a_subfolder_is_a_class(
    names: tuple[str, ...], labels: tuple[str, ...], numbers: list[int], tmp_path: Path
) -> None:
    """By its label, its number, or its place."""
    for name in names:
        put(tmp_path / name / "0.png")
    (batch,) = Data(str(tmp_path), INPUTS, KNOWN.model_copy(update={"labels": labels}))
    assert batch.labels is not None
    assert sorted(batch.labels.tolist()) == numbers


def test_without_subfolders_there_are_no_labels(tmp_path: Path) -> None:
    """A folder of pictures alone; raw ones for a file that takes bytes, and batches of equal sizes."""
    for number, size in enumerate(((50, 40), (50, 40), (30, 20))):
        put(tmp_path / f"{number}.jpg", size=size, seed=number)
    raw = (TensorType(name="x", dtype="uint8", dims=("batch", 3, "height", "width")),)
    batches = list(Data(str(tmp_path), raw))
    assert [batch.arrays["x"].shape for batch in batches] == [(2, 3, 40, 50), (1, 3, 20, 30)]
    assert [batch.labels for batch in batches] == [None, None]


def test_a_folder_may_say_how_it_is_prepared(folder: Path) -> None:
    """Instead of what the model's family knows; what is none is said."""
    (folder / "preprocessing.json").write_text(json.dumps({"resize": [24, 24], "rescale": 1.0}))
    (batch,) = Data(str(folder), INPUTS, KNOWN)
    assert batch.arrays["x"].max() > 200
    (folder / "preprocessing.json").write_text(json.dumps({"size": 24}))
    with pytest.raises(SpecError, match=r"preprocessing\.json is none \(.*write it such as"):
        Data(str(folder), INPUTS, KNOWN)


def test_what_a_file_says_is_read_back(tmp_path: Path) -> None:
    """Its metadata have the preprocessing of its family; those of others say nothing."""
    model = onnx.helper.make_model(onnx.helper.make_graph([], "g", [], []))
    for key, value in {**KNOWN.facts, "name": "net"}.items():
        model.metadata_props.add(key=f"assay.{key}", value=value)
    onnx.save(model, tmp_path / "net.onnx")
    assert preprocessing_in(tmp_path / "net.onnx") == KNOWN
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "net.onnx")
    assert preprocessing_in(tmp_path / "net.onnx") == Preprocessing()


def test_what_lacks_is_said(folder: Path, tmp_path: Path) -> None:
    """No preprocessing, unknown classes, pictures beside classes, a damaged one, other inputs."""
    with pytest.raises(SpecError, match=r"Nothing says what is done to the pictures .* preprocessing\.json into it"):
        Data(str(folder), INPUTS)
    put(folder / "wolf" / "0.png").parent.rename(folder / "bear")
    with pytest.raises(SpecError, match="bear"):
        Data(str(folder), INPUTS, KNOWN.model_copy(update={"labels": ("cat", "dog", "fox", "owl")}))
    put(folder / "0.png")
    with pytest.raises(SpecError, match="beside its subfolders"):
        Data(str(folder), INPUTS, KNOWN)
    two = (*INPUTS, TensorType(name="y", dtype="float32", dims=("batch", 3)))
    with pytest.raises(SpecError, match="with one input"):
        Data(str(folder), two, KNOWN)
    broken = put(tmp_path / "broken" / "0.png")
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(SpecError, match=r"0\.png can't be read as a picture"):
        Data(str(broken.parent), INPUTS, KNOWN)
