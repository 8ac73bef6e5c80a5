"""What ONNX Runtime's quantisation asks for: files to read and to write, and a reader of samples."""

from collections.abc import Callable, Iterator, Sequence

import onnx
from onnxruntime.quantization import CalibrationDataReader

from tasks.core.arrays import Array
from tasks.core.runtime.work_folders import work_folder
from tasks.core.variants.data import Batch


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Gives batch after batch."""

    def __init__(self, batches: Sequence[Batch]) -> None:
        """Take the samples."""
        self._feeds: Iterator[dict[str, Array]] = iter([dict(batch.arrays) for batch in batches])

    def get_next(self) -> dict[str, Array] | None:
        """The next batch; None at the end."""
        return next(self._feeds, None)


def renamed(nodes: Sequence[str]) -> list[str]:
    """Names of nodes, with those that ONNX Runtime gives them as it turns a Gemm into a MatMul."""
    return [*nodes, *(f"{name}_MatMul" for name in nodes)]


def in_files(model: onnx.ModelProto, quantise: Callable[[str, str], None]) -> onnx.ModelProto:
    """Quantise by way of files.

    Args:
        model: to be quantised.
        quantise: takes the paths of the file to read and of the file to write.
    """
    with work_folder() as folder:
        source, target = folder / "float32.onnx", folder / "quantised.onnx"
        model.ClearField("metadata_props")
        for node in model.graph.node:
            node.ClearField("metadata_props")
        onnx.save(model, str(source))
        quantise(str(source), str(target))
        return onnx.load(str(target))
