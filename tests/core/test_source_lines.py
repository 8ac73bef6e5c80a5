"""Which line of a model's own code called PyTorch."""

import sys
from pathlib import Path

import torch

from tasks.core import source_lines
from tasks.core.source_lines import callers, innermost, innermost_own, lines_of_trace, without_folder

TORCH = Path(torch.__file__).parent
TRACE = f"""
  File "/home/me/project/run.py", line 3, in <module>
  File "/venv/lib/python3.11/site-packages/torchvision/models/resnet.py", line 92, in forward
    out = self.conv1(x)
  File "{TORCH}/nn/modules/conv.py", line 7, in forward
  File "<string>", line 1, in <module>
"""


def test_the_innermost_line_outside_pytorch_is_found_in_a_trace() -> None:
    """PyTorch's own frames and code without a file are passed over."""
    found = innermost(lines_of_trace(TRACE))
    assert found == ("/venv/lib/python3.11/site-packages/torchvision/models/resnet.py", 92)


def test_the_models_own_line_is_named_before_a_librarys() -> None:
    """Whatever library its code calls; a library's own model is named by the library's line."""
    library, own = ("/venv/lib/python3.11/site-packages/einops/einops.py", 9), ("/home/me/net.py", 5)
    assay = (source_lines.__file__, 1)
    assert innermost_own([assay, (f"{TORCH}/nn/a.py", 1), library, own, ("/home/me/run.py", 3), assay]) == own
    assert innermost_own([library, (f"{TORCH}/nn/a.py", 1), assay, ("/home/me/run.py", 3)]) == library
    assert innermost_own([(f"{TORCH}/nn/a.py", 1), assay]) is None


def test_a_line_in_a_folder_called_torch_is_the_models_own() -> None:
    """PyTorch is known by where it is installed, not by the name of a folder."""
    assert innermost([("/home/me/torch/model.py", 5)]) == ("/home/me/torch/model.py", 5)


def test_a_frame_and_its_callers_are_lines() -> None:
    """The innermost one outside PyTorch is this test's own."""
    found = innermost(callers(sys._getframe()))
    assert found is not None
    assert found[0] == __file__


def test_no_folder_of_this_machine_stays() -> None:
    """A file of an installed package keeps its place in it, another one only its name."""
    assert without_folder(("/venv/lib/python3.11/site-packages/timm/layers.py", 4)) == "timm/layers.py:4"
    assert without_folder(("/home/me/model.py", 4)) == "model.py:4"
    assert without_folder(innermost([(f"{TORCH}/nn/modules/conv.py", 7)])) == ""
