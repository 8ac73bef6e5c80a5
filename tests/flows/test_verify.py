"""Files that somebody else made, proven through flows/verify.py's command line: statuses, sentences, notes, JSON."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import flows.verify
from flows.command_line.verify import main
from tests.flows.in_process import Ran
from tests.models.foreign_models import Blend, CustomOperator, Heads, Tokens
from tests.models.tiny_models import Classifier

PROJECT = Path(__file__).resolve().parents[2]
TINY = f"{PROJECT}/tests/models/tiny_models.py"
FOREIGN = f"{PROJECT}/tests/models/foreign_models.py"
CLASSIFIER = (f"{TINY}:Classifier", "--weights", "as-built")
HEADS = (f"{FOREIGN}:Heads", "--weights", "as-built")
BLEND = (f"{FOREIGN}:Blend", "--weights", "as-built")
Mutation = Callable[[onnx.ModelProto], None]

pytestmark = pytest.mark.usefixtures("store", "prefect_server")


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run flows/verify.py as a user does, from any folder."""
    return subprocess.run(
        [sys.executable, str(PROJECT / "flows/verify.py"), *arguments],
        cwd=cwd,
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture
def verify(files: Path, call: Callable[..., Ran]) -> Callable[..., Ran]:
    """Call the command line's main in the folder of the files."""
    return lambda *arguments: call(main, *arguments, cwd=files)


def _export(
    model: nn.Module, args: tuple[torch.Tensor, ...], path: Path, *, inputs: list[str], outputs: list[str]
) -> None:
    """A file with a dynamic batch, as a user's script makes it."""
    axes = {name: {0: "batch"} for name in (*inputs, *outputs)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the exporter that takes no seconds
        torch.onnx.export(
            model.eval(), args, path, input_names=inputs, output_names=outputs, dynamic_axes=axes, dynamo=False
        )


def _mutate(source: Path, name: str, change: Mutation) -> None:
    proto = onnx.load(source)
    change(proto)
    onnx.save(proto, source.with_name(name))


def _weight(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Mutation:
    def mutate(proto: onnx.ModelProto) -> None:
        tensor = next(t for t in proto.graph.initializer if t.name == name)
        values = np.ascontiguousarray(change(numpy_helper.to_array(tensor)).astype(np.float32))
        tensor.CopyFrom(numpy_helper.from_array(values, name))

    return mutate


def _rename(names: Mapping[str, str]) -> Mutation:
    """Give graph inputs and outputs other names, wherever they stand."""

    def mutate(proto: onnx.ModelProto) -> None:
        for value in (*proto.graph.input, *proto.graph.output):
            value.name = names.get(value.name, value.name)
        for node in proto.graph.node:
            for places in (node.input, node.output):
                places[:] = [names.get(name, name) for name in places]

    return mutate


def _swap_values(first: str, second: str) -> Mutation:
    """Exchange what two outputs show; their names and places stay."""

    def mutate(proto: onnx.ModelProto) -> None:
        swap = {first: second, second: first}
        for node in proto.graph.node:
            for places in (node.input, node.output):
                places[:] = [swap.get(name, name) for name in places]

    return mutate


def _swap_places(proto: onnx.ModelProto) -> None:
    """List the outputs the other way round; each name keeps its values."""
    reverse = list(reversed(proto.graph.output))
    del proto.graph.output[:]
    proto.graph.output.extend(reverse)


def _freeze_batch(proto: onnx.ModelProto) -> None:
    for value in (*proto.graph.input, *proto.graph.output):
        dim = value.type.tensor_type.shape.dim[0]
        dim.ClearField("dim_param")
        dim.dim_value = 2


def _add_input(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(helper.make_tensor_value_info("gain", TensorProto.FLOAT, ["batch", 1]))


def _by_hand(path: Path, model: nn.Linear, *, before: list[onnx.NodeProto] | None = None, **options: Any) -> None:
    """A Gemm that equals a linear layer, of an old opset and an unknown producer."""
    weight = numpy_helper.from_array(model.weight.detach().numpy().T.copy(), "W")
    bias = numpy_helper.from_array(model.bias.detach().numpy(), "b")
    one = numpy_helper.from_array(np.ones(1, dtype=np.float32), "one")
    fed = before[-1].output[0] if before else "x"
    graph = helper.make_graph(
        [*(before or []), helper.make_node("Gemm", [fed, "W", "b"], ["y"])],
        "by-hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", model.in_features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", model.out_features])],
        [weight, bias, *([one] if before else [])],
    )
    opset = helper.make_opsetid("", options.pop("opset", 11))
    onnx.save(helper.make_model(graph, opset_imports=[opset], **options), path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with true files of tiny models, and copies with one thing wrong or odd each."""
    folder = tmp_path_factory.mktemp("files")
    x = torch.randn(2, 4)
    true = folder / "true.onnx"
    _export(Classifier(), (torch.randn(2, 3, 8, 8),), true, inputs=["image"], outputs=["output"])
    _mutate(true, "scaled.onnx", _weight("head.weight", lambda w: w * 1.01))
    _mutate(true, "swapped_classes.onnx", _weight("head.weight", lambda w: w[[1, 0, 2, 3, 4]]))
    _mutate(true, "renamed.onnx", _rename({"image": "input.1", "output": "scores"}))
    _mutate(true, "fixed.onnx", _freeze_batch)
    _mutate(true, "extra.onnx", _add_input)
    (folder / "corrupt.onnx").write_bytes(true.read_bytes()[:-500])
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("This is no model.\n")

    heads = folder / "heads.onnx"
    _export(Heads(), (x,), heads, inputs=["x"], outputs=["output_0", "output_1"])
    _mutate(heads, "heads_swapped.onnx", _swap_values("output_0", "output_1"))
    _mutate(heads, "heads_reordered.onnx", _swap_places)
    _mutate(heads, "heads_unnamed.onnx", _rename({"output_0": "11", "output_1": "12"}))
    _mutate(folder / "heads_unnamed.onnx", "heads_unnamed_swapped.onnx", _swap_places)
    _mutate(heads, "heads_named.onnx", _rename({"output_0": "left", "output_1": "right"}))
    _mutate(folder / "heads_named.onnx", "heads_named_reordered.onnx", _swap_places)

    blend = folder / "blend.onnx"
    _export(Blend(), (x, x, x), blend, inputs=["first", "second", "ignored"], outputs=["output"])
    _mutate(blend, "blend_renamed.onnx", _rename({"first": "a", "second": "b"}))
    _mutate(blend, "blend_reordered.onnx", _swap_inputs)
    _mutate(folder / "blend_reordered.onnx", "blend_unknown.onnx", _rename({"first": "a", "second": "b"}))

    _export(Tokens(), (torch.randint(0, 20, (2, 5)),), folder / "tokens.onnx", inputs=["ids"], outputs=["output"])
    linear = Heads().left
    torch.save(linear.state_dict(), folder / "linear.pth")
    _by_hand(folder / "gemm.onnx", linear, ir_version=6, producer_name="")
    _by_hand(folder / "gemm_new.onnx", linear, opset=21, ir_version=10, producer_name="tf2onnx")
    add = helper.make_node("Add", ["x", "one"], ["moved"])
    _by_hand(folder / "custom.onnx", CustomOperator().layer, before=[add], opset=17, ir_version=9)
    return folder


def _swap_inputs(proto: onnx.ModelProto) -> None:
    inputs = {value.name: value for value in proto.graph.input}
    order = [inputs[name] for name in ("second", "first") if name in inputs]
    del proto.graph.input[:]
    proto.graph.input.extend(order)


def test_several_files_get_a_result_each_in_their_order(verify: Callable[..., Ran], files: Path) -> None:
    """The untouched file passes, each mutated one fails and is explained, the status is 1; MLflow has all of it."""
    names = ["scaled.onnx", "true.onnx", "swapped_classes.onnx"]
    ran = verify(*CLASSIFIER, "--name", "several", *names)
    assert (ran.status, ran.err) == (1, "")
    found = ran.results
    assert [result["file"] for result in found] == names
    assert [result["verdict"] for result in found] == ["fail", "pass", "fail"]
    assert [result["onnx_path"] for result in found] == [str(files / name) for name in names]
    for result in (found[0], found[2]):
        assert "times the noise of float32" in result["reason"]
        assert (result["blame"]["kind"], result["blame"]["parameter"]) == ("weights", "head.weight")
        assert result["blame"]["sentence"] in ran.out
    assert found[1]["reason"] == "true.onnx computes what the model computes"
    assert {"match_inputs", "validate_onnx", "log_export"} <= found[1]["seconds"].keys()
    for result in found:
        assert result["run_url"] in ran.out
        assert Path(result["file"]).name in ran.out.split("log_export")[-1], "the summary names each file"
    assert "no version" not in ran.out

    client = mlflow.MlflowClient()
    for result in found:
        run_info = client.get_run(result["run_id"])
        assert run_info.data.tags["assay.verified_file"] == result["file"]
        assert run_info.data.tags["assay.verdict"] == result["verdict"]
        assert run_info.data.tags["assay.onnx_sha256"] == result["onnx_sha256"]
        assert run_info.data.metrics["noise_ratio"] == pytest.approx(
            result["parity"]["output"]["noise_ratio"], rel=1e-3
        )
        assert result["model_uri"] is None
        assert result["version"] is None
        assert not run_info.outputs or not run_info.outputs.model_outputs
    assert not client.search_registered_models("name='several'")


@pytest.mark.slow
def test_json_to_standard_output_is_alone_there(files: Path) -> None:
    """With good files only, the status is 0; `--json -` puts JSON on standard output and the rest on the other."""
    process = run(*HEADS, "heads.onnx", "heads_reordered.onnx", "--json", "-", cwd=files)
    assert process.returncode == 0, process.stderr
    assert [result["verdict"] for result in json.loads(process.stdout)["results"]] == ["pass", "pass"]
    assert "heads_reordered.onnx" in process.stderr
    assert "Traceback" not in process.stderr


def test_inputs_of_other_names_are_matched_by_position(verify: Callable[..., Ran]) -> None:
    """`input.1` is taken for forward's image, declared or not, and a note says so."""
    ran = verify(*CLASSIFIER, "renamed.onnx")
    assert (ran.status, ran.verdicts) == (0, ["pass"])
    assert "input.1 was taken for image, by position" in ran.notes
    declared = verify(*CLASSIFIER, "renamed.onnx", "--input", "image=float32[batch,3,8,8]")
    assert (declared.status, declared.verdicts) == (0, ["pass"])
    assert "input.1 was taken for image, by position and shape" in declared.notes


def test_inputs_of_forwards_names_are_matched_by_name(verify: Callable[..., Ran]) -> None:
    """Inputs that come in another order keep their meaning where they have forward's names, and lose it where not."""
    declared = [f"--input={name}=float32[batch,4]" for name in ("first", "second", "ignored")]
    files = ["blend.onnx", "blend_reordered.onnx", "blend_renamed.onnx", "blend_unknown.onnx"]
    ran = verify(*BLEND, *declared, *files)
    assert ran.verdicts == ["pass", "pass", "pass", "fail"]
    assert ran.status == 1
    assert "a was taken for first" in "; ".join(ran.results[2]["notes"])
    assert "was taken for" not in "; ".join(ran.results[1]["notes"])


def test_an_input_that_the_file_dropped_is_noted(verify: Callable[..., Ran]) -> None:
    """An exporter drops inputs that nothing uses; the file is right all the same, and a note says what it means."""
    declared = [f"--input={name}=float32[batch,4]" for name in ("first", "second", "ignored")]
    ran = verify(*BLEND, *declared, "blend.onnx")
    assert (ran.status, ran.verdicts) == (0, ["pass"])
    assert "the file has no input ignored" in ran.notes


def test_a_dropped_input_that_nothing_describes_gets_a_sentence(verify: Callable[..., Ran]) -> None:
    """Without a declaration nobody knows what to pass for it; the sentence says how to declare it."""
    ran = verify(*BLEND, "blend.onnx")
    assert (ran.status, ran.verdicts) == (2, ["error"])
    assert "The file has no input for ignored of Blend.forward" in ran.results[0]["reason"]
    assert "--input" in ran.results[0]["reason"]


def test_an_extra_input_fails(verify: Callable[..., Ran]) -> None:
    """A file that wants an input which the module lacks is not the module's."""
    for declared in ((), ("--input", "image=float32[batch,3,8,8]")):
        ran = verify(*CLASSIFIER, "extra.onnx", *declared)
        assert (ran.status, ran.verdicts) == (1, ["fail"])
        assert "the file has the input gain, which the module lacks" in ran.results[0]["reason"]


def test_outputs_are_matched_by_name_else_by_position(verify: Callable[..., Ran]) -> None:
    """The module's names in another order are matched, unknown ones taken as they come; swapped values fail."""
    files = [
        "heads_reordered.onnx", "heads_unnamed.onnx", "heads_swapped.onnx", "heads_unnamed_swapped.onnx",
    ]  # fmt: skip
    ran = verify(*HEADS, *files)
    assert ran.verdicts == ["pass", "pass", "fail", "fail"]
    notes = ["; ".join(result["notes"]) for result in ran.results]
    assert "matched by name: they come as output_1, output_0" in notes[0]
    assert "matched by position: 11 for output_0, 12 for output_1" in notes[1]
    assert "12 for output_0" in notes[3]


def test_names_asked_for_with_output_match_too(verify: Callable[..., Ran]) -> None:
    """--output names the module's outputs, and a dict's keys do so by themselves."""
    asked = verify(*HEADS, "heads_named_reordered.onnx", "--output", "left", "--output", "right")
    assert (asked.status, asked.verdicts) == (0, ["pass"])
    by_key = verify(f"{FOREIGN}:NamedHeads", "--weights", "as-built", "heads_named_reordered.onnx")
    assert (by_key.status, by_key.verdicts) == (0, ["pass"])
    assert "matched by name: they come as right, left" in by_key.notes


def test_what_is_no_onnx_file_gets_a_sentence_and_the_others_are_proven(verify: Callable[..., Ran]) -> None:
    """Truncated, empty and text files are errors of their own, in their places among the results."""
    ran = verify(*CLASSIFIER, "corrupt.onnx", "empty.onnx", "text.onnx", "true.onnx")
    assert ran.verdicts == ["error", "error", "error", "pass"]
    assert ran.status == 2
    said = ran.err.strip().splitlines()
    assert len(said) == 3, ran.err
    for name, line, result in zip(("corrupt", "empty", "text"), said, ran.results, strict=False):
        assert line.startswith("error: ")
        assert f"{name}.onnx" in line
        assert result["file"] == f"{name}.onnx"
        assert result["error"]["message"] in line


def test_a_missing_file_is_seen_before_any_work(verify: Callable[..., Ran]) -> None:
    """One sentence that names it, status 2."""
    ran = verify(*CLASSIFIER, "true.onnx", "nowhere.onnx")
    assert (ran.status, ran.verdicts) == (2, ["error"])
    assert ran.err.strip() == "error: There is no file nowhere.onnx; name .onnx files."


def test_a_name_that_is_no_text_is_seen_before_any_work(verify: Callable[..., Ran], files: Path) -> None:
    """It could stand neither in MLflow nor in the JSON."""
    name = os.fsdecode(b"caf\xe9.onnx")
    shutil.copyfile(files / "true.onnx", files / name)
    ran = verify(*CLASSIFIER, "true.onnx", name)
    assert (ran.status, ran.verdicts) == (2, ["error"])
    assert "rename the file" in ran.err


def test_linked_weights_get_a_sentence(verify: Callable[..., Ran], files: Path) -> None:
    """As a cache of downloads lays them out: links into a folder of hashes."""
    blobs, snapshot = files / "blobs", files / "snapshot"
    blobs.mkdir()
    snapshot.mkdir()
    onnx.save(onnx.load(files / "true.onnx"), blobs / "m.onnx", save_as_external_data=True, location="m.data",
              size_threshold=0)  # fmt: skip
    for name in ("m.onnx", "m.data"):
        (snapshot / name).symlink_to(blobs / name)
    assert verify(*CLASSIFIER, "blobs/m.onnx").verdicts == ["pass"]
    ran = verify(*CLASSIFIER, "snapshot/m.onnx")
    assert (ran.status, ran.verdicts) == (2, ["error"])
    assert "symbolic link" in ran.err


def test_a_file_that_changes_while_it_is_proven_gets_no_verdict(
    verify: Callable[..., Ran], files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its SHA-256 would be that of other bytes."""
    shutil.copyfile(files / "scaled.onnx", files / "changing.onnx")
    validate = flows.verify.validate_onnx

    def replaced(*arguments: Any, **options: Any) -> Any:
        shutil.copyfile(files / "true.onnx", files / "changing.onnx")
        return validate(*arguments, **options)

    monkeypatch.setattr(flows.verify, "validate_onnx", replaced)
    ran = verify(*CLASSIFIER, "changing.onnx")
    assert (ran.status, ran.verdicts) == (2, ["error"])
    assert "was changed while it was proven" in ran.err


def test_a_fixed_batch_is_right_at_its_own_size_and_wrong_where_a_dynamic_one_was_asked(
    verify: Callable[..., Ran],
) -> None:
    """Without --input the dims are the file's; with a dynamic batch declared, a frozen one fails and is named."""
    own = verify(*CLASSIFIER, "fixed.onnx")
    assert (own.status, own.verdicts) == (0, ["pass"])
    assert own.results[0]["inputs"][0]["dims"] == [2, 3, 8, 8]
    asked = verify(*CLASSIFIER, "fixed.onnx", "--input", "image=float32[batch,3,8,8]")
    assert (asked.status, asked.verdicts) == (1, ["fail"])
    assert "batch of image was to be dynamic but is fixed in the file" in asked.results[0]["reason"]


def test_integers_need_a_range(verify: Callable[..., Ran]) -> None:
    """Nobody can guess which token ids are legal: the sentence shows how to say it, and what it shows works."""
    tokens = (f"{FOREIGN}:Tokens", "--weights", "as-built", "tokens.onnx")
    ran = verify(*tokens)
    assert (ran.status, ran.verdicts) == (2, ["error"])
    assert "--input 'ids=int64[batch,5]@0..103'" in ran.results[0]["reason"]
    declared = verify(
        f"{FOREIGN}:Tokens", "--weights", "as-built", "tokens.onnx", "--input", "ids=int64[batch,5]@0..19"
    )
    assert (declared.status, declared.verdicts) == (0, ["pass"])


def test_an_operator_without_float64_is_proven_on_another_floor(verify: Callable[..., Ran]) -> None:
    """A custom operator that refuses float64 runs in float32, and the record of the proof says so."""
    ran = verify("tests.models.foreign_models:CustomOperator", "--weights", "as-built", "custom.onnx")
    assert (ran.status, ran.verdicts) == (0, ["pass"]), ran.results[0]["reason"]
    record = mlflow.artifacts.load_dict(f"runs:/{ran.results[0]['run_id']}/export.json")
    assert record["evidence"]["floor"] == "float64, but assay_tests.shifted.default in float32"


def test_files_of_other_producers_pass(verify: Callable[..., Ran]) -> None:
    """A Gemm by hand in opset 11 without a producer, and one in opset 21, equal an nn.Linear."""
    linear = ("torch.nn:Linear", "--kwargs", '{"in_features": 4, "out_features": 3}', "--weights", "linear.pth")
    ran = verify(*linear, "gemm.onnx", "gemm_new.onnx")
    assert (ran.status, ran.verdicts) == (0, ["pass", "pass"])
    assert [result["opset"] for result in ran.results] == [11, 21]
    assert [result["exporter"] for result in ran.results] == ["other", "other"]
    assert "x was taken for input, by position" in ran.notes
