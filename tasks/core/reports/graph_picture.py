"""A picture of a file's graph: its blocks from top to bottom, and what flows between them."""

import html
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.filesize import decimal

from tasks.core.records.steps import Graph, TensorType
from tasks.core.reports.graph_blocks import Blocks

_LEFT, _WIDTH, _HEIGHT, _GAP, _TOP = 10, 560, 34, 18, 10
_LANE, _MAX_LANES = 12, 8
_MAX_NAMED = 3
"""Operators of a block, and inputs or outputs of the file, that are named."""
_STYLE = (
    ".graph{background:#fff}"
    ".graph text{font:13px system-ui,'DejaVu Sans',sans-serif;fill:#1c2128}.graph .soft{font-size:11px;fill:#59636e}"
    ".graph rect{fill:#f6f8fa;stroke:#8b949e}.graph .end{fill:#e3ecf9}.graph path{fill:none;stroke:#8b949e}"
    "@media(prefers-color-scheme:dark){.graph{background:#0f1419}.graph text{fill:#e6edf3}.graph .soft{fill:#9aa5b1}"
    ".graph rect{fill:#182028;stroke:#59636e}.graph .end{fill:#1d2c44}.graph path{stroke:#768390}}"
)


@dataclass(frozen=True)
class _Box:
    """A rectangle of the picture."""

    name: str
    note: str
    sources: tuple[int, ...]
    """Indices of the boxes that lead to it."""
    kind: str = "block"


def graph_picture(graph: Graph, found: Blocks) -> str:
    """Draw a graph as one SVG that needs nothing else, light or dark as the reader's page is.

    Args:
        graph: the file, for its inputs and outputs.
        found: its nodes in blocks.
    """
    boxes = [_Box("inputs", _named(graph.inputs), (), "end")]
    for block in found.blocks:
        size = f", {decimal(block.size_bytes)}" if block.size_bytes else ""
        note = f"{operators_in_words(block.operators, _MAX_NAMED)}{size}"
        boxes.append(_Box(block.path or "forward", note, tuple(sorted(index + 1 for index in block.sources))))
    boxes.append(_Box("outputs", _named(graph.outputs), tuple(sorted(index + 1 for index in found.ends)), "end"))
    height = _TOP * 2 + len(boxes) * (_HEIGHT + _GAP)
    width = _LEFT * 2 + _WIDTH + _LANE * (_MAX_LANES + 1)
    drawn = "".join(part for index, box in enumerate(boxes) for part in _draw(index, box))
    return (
        f'<svg class="graph" viewBox="0 0 {width} {height}" width="{width}" '
        f'role="img" aria-label="The graph in blocks by PyTorch module"><style>{_STYLE}</style>{drawn}</svg>'
    )


def as_file(picture: str) -> str:
    """A picture as a file of its own, which unlike one within a page has to name its format."""
    return picture.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)


def operators_in_words(operators: Counter[str], most: int) -> str:
    """Name the operators of which there are most.

    Args:
        operators: counted by type.
        most: to name; the rest is counted.
    """
    named = [f"{number} {operator}" for operator, number in operators.most_common(most)]
    rest = operators.total() - sum(number for _, number in operators.most_common(most))
    return ", ".join([*named, *([f"{rest} more"] if rest else [])])


def _draw(index: int, box: _Box) -> Iterator[str]:
    """The box, and the lines that lead to it: straight from the one above, else by a lane on the right."""
    y = _y(index)
    yield (
        f'<g><title>{html.escape(box.name)}: {html.escape(box.note)}</title><rect class="{box.kind}" x="{_LEFT}" '
        f'y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6"/><text x="{_LEFT + 12}" y="{y + 22}">'
        f'{html.escape(_short(box.name, 34))}</text><text class="soft" text-anchor="end" x="{_LEFT + _WIDTH - 12}" '
        f'y="{y + 22}">{html.escape(_short(box.note, 60))}</text></g>'
    )
    for source in box.sources:
        if source == index - 1:
            middle = _LEFT + _WIDTH / 2
            yield f'<path d="M{middle} {y - _GAP}V{y}m-4 -6l4 6l4 -6"/>'
        else:
            right = _LEFT + _WIDTH
            lane = right + _LANE * (1 + (abs(index - source) - 2) % _MAX_LANES)
            begin, end = _y(source) + _HEIGHT - 8, y + 8
            yield f'<path d="M{right} {begin}H{lane}V{end}H{right}m6 -4l-6 4l6 4"/>'


def _y(index: int) -> int:
    return _TOP + index * (_HEIGHT + _GAP)


def _named(values: Sequence[TensorType]) -> str:
    more = [f"{len(values) - _MAX_NAMED} more"] if len(values) > _MAX_NAMED else []
    return ", ".join([*map(str, values[:_MAX_NAMED]), *more])


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"…{text[-length + 1 :]}"
