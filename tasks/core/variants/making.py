"""The kinds of variants, and how each is made of a proven file."""

import contextlib
import importlib
import io
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import onnx
import onnx_ir as ir

from tasks.core.errors import ExportError, SpecError, one_line
from tasks.core.onnx_files.reading import read_graph
from tasks.core.onnx_files.writing import MAX_FILE_BYTES, write
from tasks.core.records.steps import Graph
from tasks.core.records.variants import Kind, VariantTerms
from tasks.core.variants.data import Batch

LOSSLESS: tuple[Kind, ...] = ("slim",)
"""Kinds that must compute what the proven file computes."""


@dataclass(frozen=True)
class Recipe:
    """What a variant is made of, beside the file."""

    terms: VariantTerms
    samples: list[Batch]
    """To calibrate with; empty: none were given."""
    keep: tuple[str, ...] = ()
    """Names of nodes that stay in float32."""
    only: tuple[str, ...] | None = None
    """Names of the nodes that do not; None: all others."""
    known: dict[Any, Any] = field(default_factory=dict, compare=False)
    """What the samples say of the file: found once, and shared by the recipes that only differ in their nodes."""


class Maker(Protocol):
    """One file of this room, for one kind."""

    def make(self, model: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
        """Make the variant.

        Args:
            model: a copy of the proven file, which may be changed.
            recipe: of the variant.
        """

    def candidates(self, model: onnx.ModelProto) -> list[str]:
        """Names of the nodes that get a lower precision."""


def maker_of(kind: Kind) -> Maker:
    """The file that makes a kind; imports what it needs."""
    maker: Maker = importlib.import_module(f"tasks.core.variants.{kind.replace('-', '_')}")
    return maker


def read_source(path: Path) -> onnx.ModelProto:
    """A proven file, each node with a name; a SpecError where its weights exceed what a message may hold."""
    model = onnx.load(str(path))
    if model.ByteSize() > MAX_FILE_BYTES:
        raise SpecError(f"{path.name} has {model.ByteSize() / 1e9:.1f} GB of weights; variants are made of up to 2 GB.")
    for index, node in enumerate(model.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return model


def make_file(source: onnx.ModelProto, recipe: Recipe, path: Path, *, facts: dict[str, str]) -> Graph:
    """Make a variant and write it, with its provenance.

    Args:
        source: the proven file.
        recipe: of the variant.
        path: of the file.
        facts: what its metadata says beside the proven file's.

    Raises:
        ExportError: it can't be made.
    """
    made = made_quietly(source, recipe)
    model = ir.from_proto(made)
    model.metadata_props.update({entry.key: entry.value for entry in source.metadata_props} | facts)
    write(model, path)
    return read_graph(path).model_copy(
        update={"exporter_reason": f"{recipe.terms.kind} of the proven file", "exporter": "other"}
    )


def made_quietly(source: onnx.ModelProto, recipe: Recipe) -> onnx.ModelProto:
    """Make a variant of a copy, without what the libraries print; an ExportError where it can't be made.

    Args:
        source: the proven file.
        recipe: of the variant.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(source)
    try:
        with _quiet():
            return maker_of(recipe.terms.kind).make(copy, recipe)
    except (SpecError, ExportError):
        raise
    except Exception as error:  # each library raises what it likes
        raise ExportError(f"No {recipe.terms.kind} variant can be made ({one_line(error)}).") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            yield
    finally:
        root.setLevel(level)
