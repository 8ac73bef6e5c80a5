"""A factory gives a module in eval mode or one sentence; a module's source files are its user's own, all of them."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tasks.core.errors import ModelError
from tasks.core.hashes import file_sha256
from tasks.core.model.building import _source_files
from tasks.core.paths import PROJECT_FOLDER
from tests.models.python_files import NET, made, write

pytestmark = pytest.mark.usefixtures("imports_as_before")


def test_a_built_model_is_in_eval_mode(tmp_path: Path) -> None:
    """Dropout must not get into the file."""
    assert not made(f"{write(tmp_path, net=NET)}/net.py:Net").training


def test_a_module_without_parameters_is_a_model(tmp_path: Path) -> None:
    """A factory may return any module."""
    (tmp_path / "net.py").write_text("import torch\ndef Net(): return torch.nn.Identity()\n")
    assert torch.equal(made(f"{tmp_path}/net.py:Net")(torch.ones(2)), torch.ones(2))


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
    return _source_files(model, made(model), before)


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
    assert str(file) in _source_files(None, module, set(sys.modules))
