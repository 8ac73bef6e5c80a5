"""What a reader is told: every module says what it is, every public function what its parameters mean."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for folder in ("flows", "tasks", "deployments") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_say_what_parameters_mean(path: Path) -> None:
    """A module has a docstring, and a public function of two or more parameters an Args section that names each."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    unnamed = {name: missing for name, missing in _unnamed_parameters(tree) if missing}
    assert not unnamed


def test_a_parameter_left_out_is_seen() -> None:
    """The check sees a function without Args, one whose Args leave a parameter out, and methods; neither private ones
    nor overrides.
    """
    source = '''
def bare(a, b): "Add."
def partial(a, *, b):
    """Add.

    Args:
        a: one.
    """
class Sums:
    def full(self, a, *b, **c):
        """Add.

        Args:
            a: one.
            b: others,
                b: not a name.
            c: more.
        """
    def one(self, a): "Add."
    @override
    def inherited(self, a, b): "Add."
    def _private(self, a, b): "Add."
class _Private:
    def two(self, a, b): "Add."
'''
    assert dict(_unnamed_parameters(ast.parse(source))) == {"bare": ["a", "b"], "partial": ["b"], "full": []}


def _unnamed_parameters(tree: ast.Module) -> Iterator[tuple[str, list[str]]]:
    """Public functions and methods with two or more parameters, each with those that its Args section lacks."""
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for node in [*tree.body, *(child for parent in classes for child in parent.body)]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            arguments = node.args
            known = [*arguments.posonlyargs, *arguments.args, arguments.vararg, *arguments.kwonlyargs, arguments.kwarg]
            names = [known_one.arg for known_one in known if known_one and known_one.arg not in ("self", "cls")]
            inherits = any(isinstance(how, ast.Name) and how.id == "override" for how in node.decorator_list)
            if len(names) >= 2 and not inherits:
                _, _, section = (ast.get_docstring(node) or "").partition("\nArgs:\n")
                said = re.findall(r"^    (\w+):", section.partition("\n\n")[0], flags=re.MULTILINE)
                yield node.name, [name for name in names if name not in said]
