"""Two versions of one model: the second says why it exists, and a comparison of both what changed. A real store."""

import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import torch

from flows.command_line.compare import main
from flows.compare import compare_versions
from flows.export import ExportSpec, export_model
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.provenance import manifest
from tasks.core.spec.version_name import VersionName
from tasks.mlflow_store.versions import download_version, find_version
from tests.flows.in_process import Ran
from tests.models.tiny_models import Classifier

NAME = "compared"


@pytest.fixture(scope="module")
def versions(store: str, prefect_server: str) -> str:
    """Version 2 has other weights, another name of its input and another PyTorch than 1; gives the model's name."""
    installed = manifest.version
    with pytest.MonkeyPatch.context() as patch:
        for torch_version, bias, image in (("2.13.0", 0.5, "image"), ("2.14.0", 0.25, "picture")):
            patch.setattr(manifest, "version", lambda name, v=torch_version: v if name == "torch" else installed(name))
            manifest.package_version.cache_clear()
            model = Classifier().eval()
            torch.nn.init.constant_(model.head.bias, bias)
            spec = ExportSpec(model=model, name=NAME, inputs=(f"{image}=float32[batch,3,8,8]",))
            assert export_model(spec).verdict == "pass"
    manifest.package_version.cache_clear()
    return NAME


@pytest.fixture
def compare(call: Callable[..., Ran]) -> Callable[..., Ran]:
    """Call the command line's main."""
    return lambda *arguments: call(main, *arguments)


def test_the_second_version_says_why_it_exists(versions: str) -> None:
    """On its page: weights, PyTorch, and the changed contract, flagged."""
    page = mlflow.MlflowClient().get_model_version(versions, "2").description
    assert "**✘ Changed contract:** inputs: `image: float32[batch, 3, 8, 8]` became `picture: float32[batch" in page
    assert "what changed since version 1:" in page
    assert "* torch 2.13.0 -&gt; 2.14.0" in page
    assert "* weights: `" in page
    assert re.search(r"\*\*How far outputs moved:\*\* `output` by 0\.\d+ of its rms, \S+ at most, over 4 inputs", page)


def test_a_comparison_says_what_changed(versions: str, compare: Callable[..., Ran]) -> None:
    """In the terminal, the contract flagged, and in the JSON; status 0."""
    ran = compare(f"{versions}/1", f"models:/{versions}/2")
    assert ran.status == 0
    first, *lines = ran.out.splitlines()
    assert first == f"models:/{versions}/1 -> models:/{versions}/2"
    assert lines[0] == "  ✘ contract  inputs: image: float32[batch, 3, 8, 8] became picture: float32[batch, 3, 8, 8]"
    assert any(line.startswith("  weights     weights: ") for line in lines)
    assert "  packages    torch: 2.13.0 became 2.14.0" in lines
    assert any(line.startswith("  spec        spec.inputs: ") for line in lines)
    assert any(line.startswith("  drift       output: relative rms difference ") for line in lines)
    assert lines[-2] == "              over 4 inputs, at batch=2; batch=1; batch=3; batch=5"
    assert lines[-1].startswith("  equal       sample, code, ")
    (result,) = ran.results
    assert (result["error"], result["before"]) == (None, f"models:/{versions}/1")
    assert result["contract"] == [
        {
            "word": "inputs",
            "before": ["image: float32[batch, 3, 8, 8]"],
            "now": ["picture: float32[batch, 3, 8, 8]"],
        }
    ]
    assert {change["kind"] for change in result["changes"]} >= {"weights", "packages", "spec"}
    (output,) = result["drift"]["outputs"]
    assert output["relative_rms"] > 0.01
    assert output["largest"] > 0


def test_an_alias_names_a_version_and_equal_ones_are_equal(versions: str) -> None:
    """Nothing differs between a version and itself; the outputs are equal to the last bit."""
    found = compare_versions(f"{versions}@proven", f"{versions}/2")
    assert found.before == found.now == f"models:/{versions}/2"
    assert (found.changes, found.contract, found.operators) == ((), (), {})
    assert [output.largest for output in found.drift.outputs] == [0.0]


def test_pytorch_is_not_imported(versions: str) -> None:
    """Nor Prefect: a comparison is there in seconds, from the file in flows/ and any folder."""
    command = [sys.executable, "-X", "importtime", str(PROJECT_FOLDER / "flows" / "compare.py")]
    ran = subprocess.run(
        [*command, f"{versions}/1", f"{versions}/2"], cwd="/", env=dict(os.environ), capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    assert "✘ contract" in ran.stdout
    imported = {line.rpartition("|")[2].strip() for line in ran.stderr.splitlines()}
    assert "onnx_ir" in imported
    assert not {"torch", "prefect"} & imported


def test_colour_flags_the_contract(versions: str, monkeypatch: pytest.MonkeyPatch, compare: Callable[..., Ran]) -> None:
    """Red where the terminal has it, and nothing else is."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = compare(f"{versions}/1", f"{versions}/2").out
    assert "\x1b[31m✘ contract\x1b[0m" in out
    assert out.count("\x1b[31m") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((NAME, f"{NAME}/2"), f"'{NAME}' names no registered version; write NAME/VERSION"),
        ((f"{NAME}/1", f"{NAME}/7"), f"{NAME} has no version 7; there are 2, 1, "),
        ((f"{NAME}/1", "comparde/2"), f"no registered model 'comparde'; did you mean {NAME}?"),
        ((f"{NAME}/1",), "the following arguments are required: NOW"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], words: str, versions: str, compare: Callable[..., Ran]
) -> None:
    """With what there is; status 2, and the JSON says it, too."""
    ran = compare(*arguments)
    assert ran.status == 2
    assert words in ran.sentence
    assert words in ran.results[0]["error"]["message"]


def test_a_result_that_cannot_be_written_is_bad_input(versions: str) -> None:
    """Told before anything is fetched."""
    assert main([f"{versions}/1", f"{versions}/2", "--json", "/nowhere/out.json"]) == 2


@pytest.mark.parametrize(("content", "words"), [(None, "has lost"), (b"other", "and 1234 was proven")])
def test_a_file_that_the_store_lost_or_changed_is_told(
    content: bytes | None, words: str, versions: str, compare: Callable[..., Ran], tmp_path: Path
) -> None:
    """Status 3: what would be compared is not what was proven."""
    stored = download_version(find_version(VersionName.parse(f"{versions}/1")), tmp_path)
    proven = stored.read_bytes()
    stored.unlink()
    if content is not None:
        stored.write_bytes(content)
    ran = compare(f"{versions}/1", f"{versions}/2")
    stored.write_bytes(proven)
    assert ran.status == 3
    assert words.replace("1234", hashlib.sha256(proven).hexdigest()[:12]) in ran.sentence


def test_no_store_is_a_service_that_is_missing(tmp_path: object, compare: Callable[..., Ran]) -> None:
    """Status 3, and none is made."""
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/none.db")
        ran = compare("digits/1", "digits/2")
    mlflow.set_tracking_uri(before)
    assert ran.status == 3
    assert "There is no store" in ran.sentence
