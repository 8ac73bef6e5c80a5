"""What a spec names is looked for before anything is built or fetched."""

from pathlib import Path

import pytest

from tasks.core.errors import AssayError, SpecError, WeightsError
from tasks.core.model.preflight import check
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve


@pytest.mark.parametrize(
    ("fields", "error", "words"),
    [
        ({"model": "alexnt"}, SpecError, "did you mean alexnet"),
        ({"model": "torch.nn:Linaer", "weights": "random"}, SpecError, "has no callable 'Linaer'"),
        ({"model": "alexnet", "sample": "none.npz"}, SpecError, r"no sample file .*none\.npz"),
        ({"model": "alexnet", "weights": "random:x"}, WeightsError, "has no seed"),
        ({"model": "alexnet", "weights": "https://host"}, SpecError, "names no file"),
        ({"model": "alexnet", "weights": "none.pth"}, WeightsError, r"no weights file .*none\.pth"),
        ({"model": "resnet18", "weights": "IMAGENET1K_V9"}, WeightsError, "torchvision has IMAGENET1K_V1"),
        ({"model": "quantized_resnet18"}, WeightsError, "are int8 tensors"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    fields: dict[str, str], error: type[AssayError], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown model, callable, sample, seed, URL, file or enum member is refused, and nothing is downloaded."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        check(resolve(ExportSpec(**fields)))


@pytest.mark.parametrize("weights", ["DEFAULT", "random:3", "as-built", "https://host/w.pth", "models:/a/1"])
def test_what_is_there_passes(weights: str) -> None:
    """A known model with weights of any kind is fine; whether a server has them is not asked."""
    check(resolve(ExportSpec(model="alexnet", weights=weights)))
