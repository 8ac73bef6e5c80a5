"""How to load a file, in the languages in which ONNX Runtime is used, as text to copy."""

import json
from collections.abc import Iterator

from tasks.core.records.steps import Graph, TensorType

_DIM = 1
"""Size of a dynamic dim in an example."""
_ONNX_FILE = "model.onnx"


def loading_lines(graph: Graph, uri: str) -> Iterator[str]:
    """Headings and blocks of code: Python, C++, JavaScript, MLflow.

    Args:
        graph: the file.
        uri: `models:/NAME/VERSION`.
    """
    inputs = tuple(_Example(value) for value in graph.inputs)
    yield "#### Load it"
    for language, heading, lines in (
        ("python", "Python, through MLflow", _mlflow(uri, inputs)),
        ("python", "Python, ONNX Runtime", _python(uri, inputs)),
        ("cpp", "C++, ONNX Runtime", _cpp(graph)),
        ("js", "JavaScript, ONNX Runtime", _javascript(inputs)),
    ):
        yield heading
        yield "\n".join([f"```{language}", *lines, "```"])


class _Example:
    """An input, as it is written in code."""

    def __init__(self, value: TensorType) -> None:
        self.name = json.dumps(value.name)
        self.dtype = value.dtype
        self.shape = [dim if isinstance(dim, int) else _DIM for dim in value.dims]


def _feeds(inputs: tuple[_Example, ...]) -> str:
    arrays = (f"{value.name}: np.zeros({value.shape}, {json.dumps(value.dtype)})" for value in inputs)
    return f"feeds = {{{', '.join(arrays)}}}"


def _mlflow(uri: str, inputs: tuple[_Example, ...]) -> Iterator[str]:
    yield "import mlflow, numpy as np"
    yield _feeds(inputs)
    yield f"outputs = mlflow.pyfunc.load_model({json.dumps(uri)}).predict(feeds)"


def _python(uri: str, inputs: tuple[_Example, ...]) -> Iterator[str]:
    yield "import mlflow, numpy as np, onnxruntime"
    yield f"folder = mlflow.artifacts.download_artifacts({json.dumps(uri)})"
    yield f'session = onnxruntime.InferenceSession(f"{{folder}}/{_ONNX_FILE}")'
    yield _feeds(inputs)
    yield "outputs = session.run(None, feeds)"


def _cpp(graph: Graph) -> Iterator[str]:
    yield "Ort::Env env;"
    yield f'Ort::Session session(env, ORT_TSTR("{_ONNX_FILE}"), Ort::SessionOptions{{}});'
    for word, values in (("inputs", graph.inputs), ("outputs", graph.outputs)):
        yield f"const char* {word}[] = {{{', '.join(json.dumps(value.name) for value in values)}}};"
    counts = f"{len(graph.inputs)}, outputs, {len(graph.outputs)}"
    yield "std::vector<Ort::Value> values;  // one an input"
    yield f"auto answers = session.Run({{}}, inputs, values.data(), {counts});"


def _javascript(inputs: tuple[_Example, ...]) -> Iterator[str]:
    yield 'import * as ort from "onnxruntime-web";'
    yield f'const session = await ort.InferenceSession.create("{_ONNX_FILE}");'
    feeds = (f"{value.name}: new ort.Tensor({json.dumps(value.dtype)}, data, {value.shape})" for value in inputs)
    yield f"const answers = await session.run({{{', '.join(feeds)}}});"
