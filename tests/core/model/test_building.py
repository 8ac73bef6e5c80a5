"""A factory is called, and what it gives is a module in eval mode or one sentence."""

from pathlib import Path

import pytest
import torch

from tasks.core.errors import ModelError
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
