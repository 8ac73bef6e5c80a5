"""The text to copy fits the file: names, dtypes and sizes are the graph's."""

import ast
import json

from tasks.core.records.steps import Graph, TensorType
from tasks.core.reports.loading import loading_lines
from tests.core.reports.report_records import make_graph

GRAPH = make_graph(**{"scores": "float32", 'a"b': "int64"}).model_copy(
    update={"inputs": (TensorType(name="ids", dtype="int64", dims=("batch", 13)),
                       TensorType(name="x.mask", dtype="bool", dims=("batch", "length")))}
)  # fmt: skip


def test_each_language_gets_names_and_sizes() -> None:
    """Python's parses; every input and output is named, quoted as its language wants it."""
    blocks = _blocks(GRAPH)
    assert [language for language, _ in blocks] == ["python", "python", "cpp", "js"]
    for language, code in blocks:
        if language == "python":
            ast.parse(code)
            assert '"x.mask": np.zeros([1, 1], "bool")' in code
            assert "models:/net/4" in code
    cpp, javascript = blocks[2][1], blocks[3][1]
    assert 'inputs[] = {"ids", "x.mask"}' in cpp
    assert f'outputs[] = {{"scores", {json.dumps(chr(97) + chr(34) + "b")}}}' in cpp
    assert "inputs, values.data(), 2, outputs, 2)" in cpp
    assert '"ids": new ort.Tensor("int64", data, [1, 13])' in javascript


def _blocks(graph: Graph) -> list[tuple[str, str]]:
    text = [line for line in loading_lines(graph, "models:/net/4") if line.startswith("```")]
    return [(block.partition("\n")[0][3:], block.partition("\n")[2].removesuffix("\n```")) for block in text]
