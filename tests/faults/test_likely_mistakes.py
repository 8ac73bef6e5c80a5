"""What people get wrong most: each is one sentence, with what was meant where something is close."""

import shutil
from pathlib import Path

import pytest

from flows.command_line import assay
from tasks.core.paths import PROJECT_FOLDER

UNET = ("unet.py:UNet", "--weights", "unet.pth")
MISTAKES: list[tuple[tuple[str, ...], str]] = [
    (("exprt",), "write assay export"),
    (("export", "resnet8"), "did you mean resnet18"),
    (("export", "Resnet-50"), "did you mean resnet50"),
    (("export", "resnet18", "--wieghts", "random"), "did you mean --weights?"),
    (("export", "resnet18", "--weights", "IMAGENET1K_V3"), "torchvision has IMAGENET1K_V1"),
    (("export", "resnet18", "--weights", "randm"), "or give a file, URL or random"),
    (("export", "unet.py", "--weights", "unet.pth"), "write unet.py:Class"),
    (("export", "unt.py:UNet", "--weights", "unet.pth"), "/unet.py?"),
    (("export", "unet.py:Unet", "--weights", "unet.pth"), "it has UNet"),
    (("export", "unet.py:UNet"), "needs --weights, one of: a file"),
    (("export", "unet.py:UNet", "--weights", "unt.pth"), "/unet.pth?"),
    (("export", *UNET, "--input", "image=flot32[batch,3,64,64]"), "use one of float32"),
    (("export", *UNET, "--input", "image:float32[batch,3,64,64]"), "e.g. image=float32[batch,3,224,224]"),
    (("export", "digits", "--exporter", "dynmo"), "choose from 'auto', 'dynamo', 'torchscript'"),
    (("export", "digits", "--opset", "8"), "outside 9 to 25; the default is 20"),
    (("export", "digits", "resnet18", "-o", "out.onnx"), "-o out.onnx/"),
    (("export", "digits", "--sample", "pictrues.npz"), "/pictures.npz?"),
    (("export", "digits", "--kwargs", "{'width': 8}"), "is no JSON (Expecting property name enclosed in double quotes"),
    (("verify", "digits", "their.onnx"), "did you mean theirs.onnx?"),
    (("verify", "theirs.onnx", "digits"), "write verify.py MODEL theirs.onnx"),
    (("verify", "digits"), "required: FILE.onnx"),
    (("sweep", "--all-torchvison"), "did you mean --all-torchvision?"),
    (("sweep", "--all-torchvision", "--select", "resnt*"), "fits none of the 121 models (alexnet, "),
    (("sweep", "digits", "--dask", "localhost:8786"), "write --dask tcp://HOST:PORT"),
    (("compare", "digits", "digits/2"), "NAME/VERSION"),
    (("serve", "digit"), "it has digits, alexnet"),
    (("notify", "hooks.example/x"), "write https://host/path"),
    (("completion", "fsh"), "take bash or zsh"),
]


@pytest.mark.parametrize(("arguments", "meant"), MISTAKES, ids=lambda value: " ".join(value)[:50])
def test_a_likely_mistake_gets_one_sentence_with_what_was_meant(
    arguments: tuple[str, ...],
    meant: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With status 2, and nothing on standard output."""
    for name in ("unet.py", "unet.pth"):
        shutil.copy(PROJECT_FOLDER / "examples" / name, tmp_path)
    for name in ("theirs.onnx", "pictures.npz"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert assay.main(list(arguments)) == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("error: ")
    assert meant in line
    assert printed.out == ""
