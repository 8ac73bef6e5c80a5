"""Python files to build models from."""

from pathlib import Path
from textwrap import dedent

from torch import nn

from tasks.core.families.registry import family_of
from tasks.core.model.building import build

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


def write(folder: Path, **files: str) -> Path:
    """Write Python files, `package__module` as package/module.py; return the folder."""
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
    return folder


def made(model: str, **kwargs: object) -> nn.Module:
    """Find and build."""
    return build(family_of(model).factory(model), kwargs, title="net")
