"""One command makes the digits and their variants, judges each, and registers what is as good as was asked."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image

from flows.command_line.export import main
from flows.command_line.verify import main as verify_main
from tests.flows.in_process import Ran

DIGITS = Path(__file__).parents[2] / "deployments" / "digits"
CALIBRATION, EVALUATION = DIGITS / "calibration.npz", DIGITS / "evaluation.npz"
DATA = ("--calibrate", str(CALIBRATION), "--evaluate", str(EVALUATION))

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest.fixture
def export(call: Callable[..., Ran]) -> Callable[..., Ran]:
    """The command line of an export, untimed."""
    return lambda *arguments: call(main, *arguments, "--no-timing")


def test_the_digits_and_three_variants(
    export: Callable[..., Ran], own_store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    """Four lines and a table; a model a kind with its claim; again: all unchanged; the files answer alike."""
    arguments = ("digits", "--variant", "fp16", "--variant", "int8", "--variant", "int8-static", *DATA, "-o", "out/")
    ran = export(*arguments, "--budget", "1%")
    names = ["digits", "digits-fp16", "digits-int8", "digits-int8-static"]
    assert [result["name"] for result in ran.results] == names
    assert (ran.status, ran.verdicts) == (0, ["pass"] * 4)
    assert all(f"✔  {name} " in ran.out for name in names)  # the rows of the table
    for name, result in list(ran.named.items())[1:]:
        evidence = result["variant"]
        assert evidence["claim"] == "loses at most 0.85% accuracy (95 %) on evaluation.npz, 450 samples"
        assert evidence["source_sha256"] == ran.named["digits"]["onnx_sha256"]
        assert evidence["claim"] in ran.out
        version = own_store.get_model_version_by_alias(name, "champion")
        assert version.tags["assay.variant_of"] == "digits version 1"
        assert evidence["claim"][1:] in version.description
        run = own_store.get_run(result["run_id"])
        assert run.data.metrics["loss_high"] == pytest.approx(0.0085, abs=1e-4)
        assert (run.info.status, run.info.run_name) == ("FINISHED", f"✔ {name} v1")
    pictures = np.load(EVALUATION)["image"]
    answers = {}
    for name in names:
        session = onnxruntime.InferenceSession(tmp_path / "out" / f"{name}.onnx")
        (answers[name],) = session.run(None, {"image": pictures})
        assert (answers[name].argmax(1) == answers["digits"].argmax(1)).mean() > 0.99
        assert (name == "digits") == np.array_equal(answers[name], answers["digits"])
    page = own_store.get_registered_model("digits").description
    assert [f"[{name} version 1](#/models/{name}/versions/1" in page for name in names] == [False, True, True, True]
    report = Path(mlflow.artifacts.download_artifacts(run_id=result["run_id"], artifact_path="report.html"))
    assert all(name in report.read_text() for name in names)
    again = export(*arguments, "--budget", "1%")
    assert [result["unchanged"] for result in again.results] == [True] * 4
    assert again.status == 0


@pytest.mark.slow
def test_a_variant_beyond_its_budget_is_no_version(export: Callable[..., Ran], own_store: mlflow.MlflowClient) -> None:
    """It is logged, with the number of samples that would decide, and `-o` has no file of it; exit 1."""
    ran = export("digits", "--variant", "int8", *DATA, "--budget", "0.2%", "-o", "out/")
    assert (ran.status, ran.verdicts) == (1, ["pass", "inconclusive"])
    result = ran.named["digits-int8"]
    assert "samples would decide" in result["reason"]
    assert result["version"] is None
    assert not Path("out/digits-int8.onnx").exists()
    assert Path("out/digits.onnx").exists()
    assert own_store.get_run(result["run_id"]).info.status == "FAILED"
    assert not own_store.search_model_versions("name='digits-int8'")


@pytest.mark.slow
def test_a_simplified_file_computes_what_the_model_computes(
    export: Callable[..., Ran], own_store: mlflow.MlflowClient
) -> None:
    """A lossless variant is proven against the module, with no evaluation data."""
    ran = export("digits", "--variant", "slim")
    assert (ran.status, ran.verdicts) == (0, ["pass", "pass"])
    assert ran.named["digits-slim"]["variant"]["claim"] == "computes what the model computes"
    assert own_store.get_model_version_by_alias("digits-slim", "proven").version


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--variant", "int9"], "invalid choice: 'int9'"),
        (["--variant", "int8-static"], "needs --calibrate DATA"),
        (["--budget", "1%"], "--budget is for variants"),
        (["--variant", "int8", "--budget", "150%"], "no share such as 1%"),
        (["--variant", "int8", "--within-budget"], "--within-budget needs --evaluate DATA"),
        (["--variant", "int8", "--evaluate", "lost.npz"], "There are no samples at lost.npz"),
    ],
)
def test_what_is_asked_wrongly_is_said_before_the_work(
    arguments: list[str], words: str, export: Callable[..., Ran], own_store: mlflow.MlflowClient
) -> None:
    """One sentence, exit 2, nothing exported."""
    ran = export("digits", *arguments)
    assert ran.status == 2
    assert words in ran.sentence
    assert not own_store.search_registered_models()


@pytest.mark.slow
def test_what_calibrates_does_not_evaluate(export: Callable[..., Ran], own_store: mlflow.MlflowClient) -> None:
    """The proven file stays; the variant is an error that counts the samples."""
    data = ("--calibrate", str(EVALUATION), "--evaluate", str(EVALUATION))
    ran = export("digits", "--variant", "int8-static", *data)
    assert (ran.status, ran.verdicts) == (2, ["pass", "error"])
    assert "450 samples of evaluation.npz are in evaluation.npz, too" in ran.results[1]["reason"]


@pytest.mark.slow
def test_files_of_somebody_else_are_judged_alike(
    call: Callable[..., Ran], export: Callable[..., Ran], own_store: mlflow.MlflowClient
) -> None:
    """The same verdict as where Assay made them; a broken one fails; one in float32 is no variant."""
    export("digits", "--variant", "int8-static", *DATA, "-o", "out/")
    model = onnx.load("out/digits-int8-static.onnx")
    scale = next(t for t in model.graph.initializer if t.name.endswith("_scale") and t.dims and t.dims[0] > 1)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) * np.float32(1.1), scale.name))
    model.graph.input[0].name = "picture"
    for node in model.graph.node:
        node.input[:] = ["picture" if name == "image" else name for name in node.input]
    onnx.save(model, "broken.onnx")
    files = ("out/digits-int8-static.onnx", "broken.onnx", "out/digits.onnx")
    ran = call(verify_main, "digits", *files, "--evaluate", str(EVALUATION))
    assert ran.status == 2
    assert ran.verdicts == ["pass", "fail", "error"]
    assert ran.results[0]["reason"] == "loses at most 0.85% accuracy (95 %) on evaluation.npz, 450 samples"
    assert "converted badly" in ran.results[1]["reason"]
    assert "✔ pass  out/digits-int8-static.onnx loses at most 0.85%" in ran.out
    assert "computes what" not in ran.out
    assert "neither quantised nor half precision" in ran.results[2]["reason"]
    names = {version.name for version in own_store.search_model_versions()}
    assert names == {"digits", "digits-int8-static"}  # of the export; judging registers nothing


@pytest.mark.slow
def test_an_export_without_variants_imports_nothing_of_them(own_store: mlflow.MlflowClient, tmp_path: Path) -> None:
    """Neither their room and flow nor what quantises; one with a variant does."""
    program = (
        "import sys; from flows.command_line.export import main; status = main(sys.argv[1:]);"
        "room = ('tasks.core.variants', 'flows.variants', 'tasks.make_variant', 'tasks.judge_variant', 'onnxslim');"
        "found = [n for n in sys.modules if n.startswith((*room, 'onnxruntime.quantization', 'scipy.stats'))];"
        "sys.exit(status or ', '.join(sorted(found)[:5]) or 0)"
    )

    def ran(*more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", program, "digits", "--no-timing", *more]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert ran().returncode == 0
    with_one = ran("--variant", "fp16", "--evaluate", str(EVALUATION))
    assert "flows.variants, onnxruntime.quantization" in with_one.stderr.splitlines()[-1]


@pytest.mark.slow
def test_pictures_in_folders_are_samples(
    export: Callable[..., Ran], own_store: mlflow.MlflowClient, tmp_path: Path
) -> None:
    """A subfolder a class, prepared as the folder says: the same loss as of the arrays."""
    arrays = np.load(EVALUATION)
    for number, (picture, label) in enumerate(zip(arrays["image"], arrays["labels"], strict=True)):
        place = tmp_path / "held-out" / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((picture[0] * 15).astype(np.uint8)).save(place / f"{number}.png")
    (tmp_path / "held-out" / "preprocessing.json").write_text(json.dumps({"resize": [8], "rescale": 1 / 15}))
    losses = []
    for data in (str(EVALUATION), "held-out/"):
        ran = export("digits", "--variant", "int8", "--evaluate", data, "--budget", "1%")
        losses.append(ran.named["digits-int8"]["variant"]["loss"])
        assert (ran.status, ran.named["digits-int8"]["unchanged"]) == (0, False)
    assert losses[0] == losses[1]
