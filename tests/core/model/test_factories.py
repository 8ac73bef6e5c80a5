"""Models are found by name, import path and file, as a user would write them, and so are their sources."""

import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
import torch
from torch import nn

from tasks.core.errors import ModelError, SpecError
from tasks.core.hashes import file_sha256
from tasks.core.model import factories
from tasks.core.model.factories import build, find_factory, source_files
from tasks.core.paths import PROJECT_FOLDER


@pytest.fixture(autouse=True)
def _imports_as_before() -> Iterator[None]:
    """Forget what a test imported."""
    modules, path, folders = dict(sys.modules), list(sys.path), list(factories._folders)
    yield
    for name in [n for n in sys.modules.keys() - modules.keys() if factories._place(sys.modules[n])]:
        del sys.modules[name]
    sys.modules.update(modules)
    sys.path[:] = path
    factories._folders[:] = folders
    factories._imported_by.clear()


def write(folder: Path, **files: str) -> Path:
    """Write Python files, `package__module` as package/module.py; return the folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return folder


NET = """
    import torch
    from torch import nn

    class Net(nn.Module):
        def __init__(self, width=3):
            super().__init__()
            self.linear = nn.Linear(4, width)
        def forward(self, x):
            return self.linear(x)

    class Nested:
        Net = Net
        @staticmethod
        def make():
            return Net(5)

    number = 3
"""


def made(model: str, **kwargs: object) -> nn.Module:
    """Find and build."""
    return build(find_factory(model), kwargs, title="net")


def test_a_file_gives_class_function_and_nested_names(tmp_path: Path) -> None:
    """`file.py:Class` may name any callable, also inside a class."""
    file = write(tmp_path, net=NET) / "net.py"
    assert made(f"{file}:Net", width=7).linear.out_features == 7
    assert made(f"{file}:Nested.Net").linear.out_features == 3
    assert made(f"{file}:Nested.make").linear.out_features == 5


def test_a_built_model_is_in_eval_mode(tmp_path: Path) -> None:
    """Dropout must not get into the file."""
    assert not made(f"{write(tmp_path, net=NET)}/net.py:Net").training


def test_torchvision_names_build_without_a_download() -> None:
    """A torchvision name builds its model; segmentation builders fetch no backbone."""
    assert type(made("squeezenet1_1")).__name__ == "SqueezeNet"
    assert "weights_backbone" not in str(made("lraspp_mobilenet_v3_large", num_classes=2).__dict__)


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
    first = find_factory(f"{file}:Net")
    assert find_factory(f"{file}:Net") is first
    file.write_text(dedent(NET).replace("width=3", "width=9"))
    assert made(f"{file}:Net").linear.out_features == 9
    assert find_factory(f"{file}:Net") is find_factory(f"{file}:Net")


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
            find_factory(f"{tmp_path}/net.py:Net")
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
        ("alexnt", "did you mean alexnet"),
    ],
)
def test_what_is_not_there_is_one_sentence(model: str, words: str) -> None:
    """A file, module or name that does not exist is refused with what to write."""
    with pytest.raises(SpecError, match=words):
        find_factory(model)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def Net(classes): ...", r"signature is \(classes\): set its arguments with --kwargs"),
        ("def Net(): return 3", "returned int, not an nn.Module"),
        ("def Net(): return None", "returned NoneType"),
        ("from torch import nn\ndef Net(): return nn.Linear", "returned type"),
        ("def Net(): raise KeyError('config')", "raised KeyError: 'config'"),
        ("def Net(): raise SystemExit(2)", "raised SystemExit"),
    ],
)
def test_a_factory_that_fails_is_one_sentence(text: str, words: str, tmp_path: Path) -> None:
    """What the factory raises or returns instead of a module becomes one sentence."""
    (tmp_path / "net.py").write_text(text)
    with pytest.raises(ModelError, match=words):
        made(f"{tmp_path}/net.py:Net")


def test_wrong_arguments_show_the_signature(tmp_path: Path) -> None:
    """An argument that the class does not know is refused with its signature."""
    file = write(tmp_path, net=NET) / "net.py"
    with pytest.raises(ModelError, match=r"\(width=3\): set its arguments with --kwargs"):
        made(f"{file}:Net", widht=3)


def sources(model: str) -> dict[str, str]:
    """The source files of a model, built as the step builds it."""
    before = set(sys.modules)
    return source_files(model, made(model), before)


def test_sources_are_the_users_own_files(tmp_path: Path) -> None:
    """All files that the model came from are listed with their hashes, siblings and packages too; no installed one."""
    folder = write(
        tmp_path,
        net="""
            import settings
            from parts.block import Block
            def build():
                from late import make
                return make(Block)
        """,
        settings="WIDTH = 3\n",
        late="def make(block): return block()\n",
        parts____init__="",
        parts__block="from torch import nn\nfrom parts import shared\nclass Block(nn.ReLU): pass\n",
        parts__shared="import numpy\n",
        unrelated="raise RuntimeError\n",
    )
    (folder / "parts" / "__init__.py").touch()
    found = sources(f"{folder}/net.py:build")
    names = ["late.py", "net.py", "parts/__init__.py", "parts/block.py", "parts/shared.py", "settings.py"]
    assert found == {str(folder / name): file_sha256(folder / name) for name in names}


def test_sources_are_the_same_when_built_again(tmp_path: Path) -> None:
    """A second build in one process, which imports nothing, lists what the first one did."""
    folder = write(
        tmp_path, net="def build():\n    import late\n    return late.nn.ReLU()\n", late="from torch import nn\n"
    )
    assert len(sources(f"{folder}/net.py:build")) == 2
    assert sources(f"{folder}/net.py:build") == sources(f"{folder}/net.py:build")
    assert len(sources(f"{folder}/net.py:build")) == 2


def test_installed_models_have_no_sources() -> None:
    """Torchvision's and torch's own classes are known by their versions, not by files."""
    assert sources("squeezenet1_1") == {}
    assert sources("torch.nn:ReLU") == {}


def test_sources_in_the_project_are_relative_to_it() -> None:
    """A model that ships with the project is listed by a path that holds on any machine."""
    model = f"{PROJECT_FOLDER}/deployments/digits/model.py:DigitsCNN"
    assert "deployments/digits/model.py" in sources(model)


def test_a_live_module_lists_the_file_of_its_class(tmp_path: Path) -> None:
    """A module that was built elsewhere still names the source of its classes."""
    file = write(tmp_path, net=NET) / "net.py"
    module = nn.Sequential(made(f"{file}:Net"))
    assert str(file) in source_files(None, module, set(sys.modules))


def test_a_module_without_parameters_is_a_model(tmp_path: Path) -> None:
    """A factory may return any module."""
    (tmp_path / "net.py").write_text("import torch\ndef Net(): return torch.nn.Identity()\n")
    assert torch.equal(made(f"{tmp_path}/net.py:Net")(torch.ones(2)), torch.ones(2))
