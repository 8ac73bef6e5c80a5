"""Models are found by import path and file, as a user would write them, without PyTorch where it needs none."""

import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from torch import nn

from tasks.core.errors import ModelError, SpecError
from tasks.core.families.python import PythonFamily
from tests.models.python_files import NET, made, write

FAMILY = PythonFamily()
pytestmark = pytest.mark.usefixtures("imports_as_before")


def test_a_file_gives_class_function_and_nested_names(tmp_path: Path) -> None:
    """`file.py:Class` may name any callable, also inside a class."""
    file = write(tmp_path, net=NET) / "net.py"
    assert made(f"{file}:Net", width=7).linear.out_features == 7
    assert made(f"{file}:Nested.Net").linear.out_features == 3
    assert made(f"{file}:Nested.make").linear.out_features == 5


def test_an_installed_module_is_imported() -> None:
    """`package.module:Class` is imported as Python does it."""
    assert isinstance(made("torch.nn:Linear", in_features=2, out_features=3), nn.Linear)
    assert isinstance(made("torch:nn.ReLU"), nn.ReLU)


def test_siblings_can_be_imported(tmp_path: Path) -> None:
    """A file imports its neighbours as `python file.py` would, at the top and inside its functions."""
    write(
        tmp_path,
        net="from layers import Layer\ndef build():\n    from late import Late\n    return Late(Layer())\n",
        layers="from torch import nn\nclass Layer(nn.ReLU): pass\n",
        late="from torch import nn\nclass Late(nn.Sequential): pass\n",
    )
    assert type(made(f"{tmp_path}/net.py:build")[0]).__name__ == "Layer"  # type: ignore[index]


def test_two_files_have_siblings_of_their_own(tmp_path: Path) -> None:
    """Two models in two folders that both `import layers` get each its own layers, at any time."""
    for name, width in (("a", 3), ("b", 5)):
        write(
            tmp_path / name,
            model="""
                from layers import WIDTH
                from parts.head import HEAD
                from torch import nn
                def top(): return nn.Linear(WIDTH, HEAD)
                def late():
                    import lazy
                    return nn.Linear(lazy.WIDTH, HEAD)
            """,
            layers=f"WIDTH = {width}\n",
            lazy=f"WIDTH = {width}\n",
            parts__head=f"HEAD = {width * 10}\n",
        )
    for _ in range(2):
        for name, width in (("a", 3), ("b", 5)):
            for callable_name in ("top", "late"):
                linear = made(f"{tmp_path / name}/model.py:{callable_name}")
                assert (linear.in_features, linear.out_features) == (width, width * 10)


def test_a_file_may_be_called_like_a_library(tmp_path: Path) -> None:
    """A file named onnx.py or json.py is loaded, and the library stays what it was, also if imported later."""
    for name in ("json", "sqlite3", "wave", "my-net", "my.net"):
        (tmp_path / f"{name}.py").write_text(dedent(NET))
        assert made(f"{tmp_path}/{name}.py:Net") is not None
    import json
    import wave

    assert json.dumps([]) == "[]"
    assert hasattr(wave, "open")


def test_a_changed_file_is_loaded_anew(tmp_path: Path) -> None:
    """In one process a file that was edited gives its new model, and an unchanged one the same class."""
    file = write(tmp_path, net=NET) / "net.py"
    first = FAMILY.factory(f"{file}:Net")
    assert FAMILY.factory(f"{file}:Net") is first
    file.write_text(dedent(NET).replace("width=3", "width=9"))
    assert made(f"{file}:Net").linear.out_features == 9
    assert FAMILY.factory(f"{file}:Net") is FAMILY.factory(f"{file}:Net")


def test_a_dataclass_and_typing_work_in_a_file(tmp_path: Path) -> None:
    """Files may hold what needs its module to be known by name, such as dataclasses with text annotations."""
    text = "from __future__ import annotations\nimport dataclasses\nfrom torch import nn\n" + dedent("""
        @dataclasses.dataclass
        class Config:
            width: int = 3
        def build(): return nn.Linear(Config().width, 2)
    """)
    (tmp_path / "net.py").write_text(text)
    assert made(f"{tmp_path}/net.py:build").in_features == 3


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("import not_installed_at_all", ModelError, "ModuleNotFoundError: No module named 'not_installed_at_all'"),
        ("def broken(:", ModelError, "SyntaxError"),
        ("raise ValueError('line one\\nline two')", ModelError, "ValueError: line one line two"),
        ("import sys; sys.exit('usage: train.py --data DIR')", ModelError, "SystemExit: usage: train.py"),
        ("from .layers import Layer", ModelError, r"relative import.*write package\.net:Class"),
        ("class Other: pass", SpecError, "has no callable 'Net'; it has Other"),
        ("Net = 3", SpecError, "has no callable 'Net'; it has none"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_sentence(
    text: str, error: type[Exception], words: str, tmp_path: Path
) -> None:
    """Whatever goes wrong while a file is loaded is told in one sentence, and a second try is a fresh one."""
    (tmp_path / "net.py").write_text(text)
    for _ in range(2):
        with pytest.raises(error, match=words) as caught:
            FAMILY.factory(f"{tmp_path}/net.py:Net")
        assert "\n" not in str(caught.value)
    (tmp_path / "net.py").write_text(dedent(NET))
    assert made(f"{tmp_path}/net.py:Net") is not None


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nowhere.py:Net", r"There is no file .*nowhere\.py; give path/to/file\.py:Class"),
        ("no_such_package:Net", "No module named no_such_package; install it, or write path"),
        ("torch.no_such_module:Net", r"No module named torch\.no_such_module"),
        ("torch.nn:Linaer", "torch.nn has no callable 'Linaer'"),
        ("torch.nn:Linear.weight", "has no callable"),
    ],
)
def test_what_is_not_there_is_one_sentence(model: str, words: str) -> None:
    """A file, module or name that does not exist is refused with what to write."""
    with pytest.raises(SpecError, match=words):
        FAMILY.factory(model)


PARSES = """
    import argparse, sys
    from torch import nn

    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=3)
    options = parser.parse_args()

    def Net():
        layer = nn.Linear(4, parser.parse_args().width)
        layer.argv = sys.argv
        return layer
"""


@pytest.mark.parametrize("form", ["file", "module"])
def test_a_file_that_parses_arguments_gets_none_of_assays(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is imported, and while the module is built; then they are Assay's again."""
    monkeypatch.setattr(sys, "argv", before := ["export.py", "--width", "seven", "net.py:Net"])
    file = (
        write(
            tmp_path, parses=PARSES.replace("layer, layer.argv = build()", "layer, argv = build(); layer.argv = argv")
        )
        / "parses.py"
    )
    monkeypatch.chdir(tmp_path)
    layer = made(f"{file}:Net" if form == "file" else "parses:Net")
    assert layer.argv == [str(file)]
    assert sys.argv is before


def test_a_live_module_is_its_own_factory() -> None:
    """A module in memory is taken as it is, named by its class; a class is no module."""
    module = nn.Linear(2, 2)
    assert FAMILY.recognises(module)
    assert not FAMILY.recognises(nn.Linear)
    assert FAMILY.fields(module) == {"name": "Linear", "weights": "as-built"}
    assert FAMILY.factory(module)() is module


def test_what_only_names_need_imports_no_torch() -> None:
    """Recognising a text, and filling a spec by it, are done before PyTorch is imported."""
    code = (
        "import sys; from tasks.core.families.registry import FAMILIES, family_of; "
        "[family_of(m).fields(m) for m in ('alexnet', 'a.b:C', 'net.py:Net')]; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
