"""Files described as records and as text."""

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest

from tasks.core.errors import SpecError
from tasks.core.onnx_files.reading import read_graph, readable, unmodified
from tasks.core.onnx_files.writing import write


def test_a_graph_can_be_read(graph: ir.Model) -> None:
    """--verbose shows inputs, a line a node, and outputs."""
    text = readable(graph)
    assert text.startswith("inputs   image: float32[batch, 3, 8, 8]")
    assert "Conv(" in text
    assert text.splitlines()[-1].startswith("outputs  scores: float32[")


def test_a_file_is_described_by_its_header(graph: ir.Model, tmp_path: Path) -> None:
    """Hash, size, opset, names and dims of a file that was written a moment ago are its own."""
    sha256, _ = write(graph, tmp_path / "model.onnx")
    record = read_graph(tmp_path / "model.onnx")
    assert (record.sha256, record.opset, record.num_nodes) == (sha256, 20, graph.graph.num_nodes())
    assert record.size_bytes == (tmp_path / "model.onnx").stat().st_size
    assert [(value.name, value.dtype, value.dims[1:]) for value in record.inputs] == [("image", "float32", (3, 8, 8))]
    assert record.exporter_reason.startswith("the file was made by pytorch")


def test_an_output_without_a_type_is_described(graph: ir.Model, tmp_path: Path) -> None:
    """A file may say that a type is undefined; what to make of it is for whoever runs the file."""
    write(graph, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.UNDEFINED
    onnx.save(proto, tmp_path / "untyped.onnx")
    assert read_graph(tmp_path / "untyped.onnx").outputs[0].dtype == "unknown"


@pytest.mark.parametrize(("content", "words"), [(None, "There is no file"), (b"", "can't be read"), (b"PK..", "ONNX")])
def test_what_is_no_onnx_file_is_one_sentence(content: bytes | None, words: str, tmp_path: Path) -> None:
    """A missing, an empty and a foreign file are refused before anything is run."""
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(SpecError, match=words):
        read_graph(tmp_path / "model.onnx")


def test_a_change_of_the_file_is_seen(graph: ir.Model, tmp_path: Path) -> None:
    """A file that was replaced or is gone afterwards is refused; one that was only read is not."""
    path = tmp_path / "model.onnx"
    write(graph, path)
    with unmodified(path):
        path.read_bytes()
    with pytest.raises(SpecError, match="was changed while it was proven"), unmodified(path):
        path.replace(tmp_path / "older.onnx")
    write(graph, path)
    with pytest.raises(SpecError, match="was changed while it was proven"), unmodified(path):
        write(graph, path)


@pytest.mark.parametrize("place", ["../secret.bin", "{folder}/secret.bin", "inner/../../secret.bin", "link/secret.bin"])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_weights_outside_the_folder_of_a_file_are_not_read(place: str, is_sparse: bool, tmp_path: Path) -> None:
    """By a path upwards, an absolute one, or a symbolic link; of sparse initializers, too."""
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    (tmp_path / "model" / "inner").mkdir(parents=True)
    (tmp_path / "model" / "link").symlink_to(tmp_path)
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=place.format(folder=tmp_path))
    given = [onnx.helper.make_tensor_value_info(name, 1, [4]) for name in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Add", ["x", "w"], ["y"])], "g", given[:1], given[1:])
    if is_sparse:
        graph.sparse_initializer.add(values=tensor, dims=[4])
    else:
        graph.initializer.append(tensor)
    (tmp_path / "model" / "m.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(SpecError, match=r"^m\.onnx keeps weights in .*, outside its own folder"):
        read_graph(tmp_path / "model" / "m.onnx")
