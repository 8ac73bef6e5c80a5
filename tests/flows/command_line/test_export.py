"""The command line as a user meets it: statuses, sentences, JSON, files."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import onnx
import pytest
import torch

from flows.command_line.export import main
from tasks.core.hashes import tensors_sha256
from tests.flows.in_process import Ran
from tests.models.real_models import CASES, SITE
from tests.models.tiny_models import Classifier
from tests.services.weights_server import WeightsServer

PROJECT = Path(__file__).resolve().parents[3]
TINY = f"{PROJECT}/tests/models/tiny_models.py"


def run(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run flows/export.py as a user does, from any folder."""
    return subprocess.run(
        [sys.executable, str(PROJECT / "flows/export.py"), *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def results(path: Path) -> list[dict[str, Any]]:
    """The results of a --json file."""
    found: list[dict[str, Any]] = json.loads(path.read_text())["results"]
    return found


def test_help_names_every_option(tmp_path: Path) -> None:
    """--help lists the contract's options, without importing PyTorch first."""
    process = run("--help", cwd=tmp_path)
    assert process.returncode == 0
    for option in (
        "--weights", "--ignore-missing", "--ignore-unexpected", "--sample", "--kwargs", "--input", "--output",
        "--opset", "--exporter", "--constant-output", "--name", "-o", "--force", "--verbose", "--json",
    ):  # fmt: skip
        assert option in process.stdout


@pytest.mark.slow
@pytest.mark.usefixtures("store", "prefect_server")
def test_which_of_several_weights_is_said_and_chosen(call: Callable[..., Ran], tmp_path: Path) -> None:
    """What was taken stands on the terminal, in the notes, the report and the file; two that fit need `FILE#LABEL`."""
    net = Classifier().state_dict()
    torch.save({"generator": net, "discriminator": torch.nn.Linear(3, 1).state_dict()}, tmp_path / "gan.pth")
    more = (f"{TINY}:Classifier", "--name", "gan", "--input", "image=float32[batch,3,8,8]", "-o", "net.onnx")
    ran = call(main, "--weights", "gan.pth", *more)
    note = "of several sets of weights generator is taken, the one that fits; not discriminator"
    assert ran.status == 0
    assert note in ran.results[0]["notes"]
    assert ran.out.count(note) == 2, "when it is taken, and in the summary"
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "net.onnx").metadata_props}
    assert metadata["assay.weights"] == "gan.pth#generator"
    assert metadata["assay.weights_sha256"] == tensors_sha256(net)
    report = mlflow.artifacts.load_text(f"runs:/{ran.results[0]['run_id']}/report.html")
    assert note in report
    assert "gan.pth#generator" in report
    ema = {key: value + 0.5 if value.is_floating_point() else value for key, value in net.items()}
    torch.save({"state_dict": net, "state_dict_ema": ema}, tmp_path / "two.pth")
    ran = call(main, "--weights", "two.pth", *more)
    assert ran.status == 2
    assert "(state_dict, state_dict_ema); say which with --weights FILE#LABEL" in ran.sentence


def test_what_needs_no_pytorch_is_told_before_it_is_imported(tmp_path: Path) -> None:
    """Likely mistakes, all in one process that has not imported PyTorch in the end: a name, a file, text as a model."""
    (tmp_path / "text.onnx").write_text("This is no model.\n")
    (tmp_path / "net.py").write_text("raise AssertionError('imported')\n")
    net = ("net.py:Net", "--weights")
    calls = {
        "export": [
            ("resnet8",), ("net_y.py:Net", "--weights", "random"), (*net, "nowhere.pth"), (*net, "random:x"),
            (*net, "https://host/"), (*net, "random", "--sample", "nowhere.npz"), ("digits", "-o", "/proc/x.onnx"),
            (*net, "random", "-o", "net.py"), (*net, "random", "--json", "net.py"),
            ("digits", "--json", "nowhere/out.json"),
        ],
        "verify": [
            ("digits", "text.onnx"), ("digits", "nowhere.onnx"), ("digitz", "text.onnx"),
            ("digits", "text.onnx", "--json", "text.onnx"),
        ],
        "sweep": [("--select", "nothing*"), ("net_y.py", "--weights", "random")],
    }  # fmt: skip
    program = "import sys\n" + "\n".join(
        f"from flows.command_line.{command} import main\nassert main({list(arguments)!r}) == 2, {arguments}"
        for command, several in calls.items()
        for arguments in several
    )
    environment = {**os.environ, "PREFECT_API_URL": "http://127.0.0.1:9/api"}  # what needs it comes after these checks
    ran = subprocess.run(
        [sys.executable, "-c", f"{program}\nassert 'torch' not in sys.modules"],
        cwd=tmp_path, env={**environment, "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    lines = ran.stderr.splitlines()
    assert len(lines) == sum(map(len, calls.values())), "one sentence each"
    assert "did you mean resnet18" in lines[0]


@pytest.mark.parametrize(
    ("address", "status", "said"), [("http://127.0.0.1:9/api", 3, "does not answer"), ("nonsense", 2, "is no address")]
)
def test_a_prefect_server_that_is_not_there_is_told_before_the_work(
    address: str, status: int, said: str, call: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence that names PREFECT_API_URL."""
    monkeypatch.setenv("PREFECT_API_URL", address)
    ran = call(main)
    assert (ran.status, ran.verdicts) == (status, ["error"])
    assert said in ran.sentence
    assert "PREFECT_API_URL" in ran.sentence


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["resnt18"], "did you mean resnet18"),
        ([f"{TINY}:Classifier"], "needs --weights"),
        (["net.py:Net", "--weights", "random"], "There is no file"),
        ([f"{TINY}:Clasifier", "--weights", "random"], "has no callable 'Clasifier'"),
        (["no.such.module:Net", "--weights", "random"], "No module named"),
        (["resnet18", "--weights", "IMAGENET1K_V9"], "torchvision has IMAGENET1K_V1"),
        (["resnet18", "--weights", "nowhere.pth"], "There is no weights file"),
        (["resnet18", "--weights", "random:x"], "write random or random:NUMBER"),
        (["resnet18", "--weights", "https://host/"], "names no file"),
        (["resnet18", "--kwargs", "{"], "is no JSON"),
        (["resnet18", "--input", "x=float33[2]"], "unknown dtype"),
        (["resnet18", "--input", "x"], "write NAME=DTYPE[DIM,...]"),
        (["resnet18", "--input", "x=int64[batch]"], "without a range"),
        (["resnet18", "--opset", "99"], "outside 9 to 25"),
        (["resnet18", "--sample", "nowhere.npz", "--weights", "random"], "There is no sample file"),
        (["resnet18", "vgg11", "-o", "one.onnx"], "give a folder"),
        ([f"{TINY}:Zero", "--weights", "as-built", "-o", TINY], "is read here and would be replaced"),
        (["resnet18", "resnet18"], "Two models are called resnet18"),
        (["resnet18", "vgg11", "--name", "both"], "can't name 2 models"),
        (["resnet18", "--name", "a/b"], "MLflow allows no"),
        (["--frobnicate"], "unrecognized arguments"),
    ],
)
def test_bad_input_gets_one_sentence_and_status_2(
    arguments: list[str], says: str, call: Callable[..., Ran], store: str, prefect_server: str
) -> None:
    """What is wrong and what to do, on one line, with the JSON written all the same."""
    ran = call(main, *arguments)
    assert ran.status == 2
    assert says in ran.sentence
    (result,) = ran.results
    assert result["verdict"] == "error"
    assert says in result["error"]["message"]


def test_an_export_from_any_folder_then_unchanged(tmp_path: Path, store: str, prefect_server: str) -> None:
    """The default model passes, `-o` has the proven bytes; the second run only says so, and imports no PyTorch."""
    process = run("--name", "from-any-folder", "-o", "out/", "--json", "out.json", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    (result,) = results(tmp_path / "out.json")
    assert result["verdict"] == "pass"
    assert (result["unchanged"], result["version"], result["error"]) == (False, "1", None)
    file = tmp_path / "out" / "from-any-folder.onnx"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == result["onnx_sha256"]
    assert result["onnx_path"] == str(file)
    assert result["inputs"] == [{"name": "image", "dtype": "float32", "dims": ["batch", 1, 8, 8]}]
    assert result["outputs"] == [{"name": "logits", "dtype": "float32", "dims": ["batch", 10]}]
    assert result["parity"]["logits"]["top1_agreement"] == 1.0
    steps = {"fetch_weights", "instantiate_model", "create_inputs", "export_onnx", "validate_onnx", "log_export"}
    assert steps == set(result["seconds"])
    for step in steps:
        assert step in process.stdout

    file.unlink()
    program = (
        "import sys; from flows.command_line.export import main;"
        "status = main(['--name', 'from-any-folder', '-o', 'out/', '--json', '-']);"
        "sys.exit(status or (7 if 'torch' in sys.modules else 0))"
    )
    again = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    (second,) = json.loads(again.stdout)["results"]
    assert (second["unchanged"], second["version"], second["run_id"]) == (True, "1", result["run_id"])
    assert "unchanged" in again.stderr
    assert hashlib.sha256(file.read_bytes()).hexdigest() == result["onnx_sha256"]


def test_a_changed_source_makes_a_new_version_that_names_it(
    tmp_path: Path, call: Callable[..., Ran], store: str, prefect_server: str
) -> None:
    """Editing the model's file gives version 2, and the reason says which file changed."""
    source = tmp_path / "net.py"
    shutil.copy(TINY, source)
    arguments = (f"{source}:Classifier", "--weights", "random", "--input", "image=float32[batch,3,8,8]")
    assert call(main, *arguments, "--name", "edited").status == 0
    source.write_text(source.read_text() + "\n# a remark\n")
    ran = call(main, *arguments, "--name", "edited")
    assert ran.status == 0, ran.err
    (result,) = ran.results
    assert (result["version"], result["unchanged"]) == ("2", False)
    assert "source net.py" in result["reason"]


def test_what_is_not_proven_has_status_1_and_leaves_the_output_alone(
    tmp_path: Path, call: Callable[..., Ran], store: str, prefect_server: str
) -> None:
    """A dead model is inconclusive: status 1, the run's address, and the old file still there."""
    old = tmp_path / "dead.onnx"
    old.write_bytes(b"precious")
    ran = call(
        main, f"{TINY}:Zero", "--weights", "as-built", "--name", "dead", "-o", "dead.onnx",
        "--input", "image=float32[batch,3,8,8]",
    )  # fmt: skip
    assert ran.status == 1
    assert "is exactly zero on every probe" in ran.sentence
    assert old.read_bytes() == b"precious"
    (result,) = ran.results
    assert (result["verdict"], result["version"]) == ("inconclusive", None)
    assert result["run_url"] in ran.out
    assert Path(result["onnx_path"]).is_file(), "the file is kept with the run"


def test_without_network_there_are_three_ways_out(
    tmp_path: Path, call: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, store: str, prefect_server: str
) -> None:
    """A dead host gives status 3 and names the file, the mirror, and the cache folder with the file's name."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", "http://127.0.0.1:9")
    ran = call(main, "alexnet")
    assert ran.status == 3
    said = ran.sentence
    assert "could not be reached" in said
    for way_out in ("--weights FILE", "ASSAY_WEIGHTS_MIRROR", "alexnet-owt-7be5be79.pth", str(tmp_path / "torch")):
        assert way_out in said


@pytest.mark.usefixtures("store", "prefect_server")
def test_a_mirror_is_asked_for_torchvisions_own_file_and_a_wrong_one_is_refused(
    call: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, weights_server: WeightsServer, caches: Path
) -> None:
    """`alexnet` asks the mirror for alexnet-owt-7be5be79.pth; other bytes are refused and nothing is kept."""
    weights_server.put("/models/alexnet-owt-7be5be79.pth", b"not these")
    monkeypatch.setenv("ASSAY_WEIGHTS_MIRROR", weights_server.url(""))
    ran = call(main, "alexnet")
    assert ran.status == 2
    assert "7be5be79" in ran.sentence
    assert [request.path for request in weights_server.requests] == ["/models/alexnet-owt-7be5be79.pth"]
    assert [path.name for path in caches.rglob("*.pth*") if not path.name.endswith(".lock")] == []


@pytest.mark.slow
@pytest.mark.usefixtures("real_weights")
def test_a_url_with_a_true_hash_is_fetched_after_a_cut_and_cached(
    tmp_path: Path, store: str, prefect_server: str, weights_server: WeightsServer, caches: Path
) -> None:
    """Real ImageNet weights by URL: the cut download is resumed, the hash in the name holds, no second request."""
    path = SITE / CASES["efficientnet_lite0"].weights
    url = weights_server.put(f"/{path.name}", path.read_bytes())
    weights_server.cut_after, weights_server.num_cuts = 5_000_000, 1
    arguments = (
        f"{PROJECT}/tests/models/real_models.py:efficientnet_lite0", "--weights", url, "--json", "out.json",
        "--input", "image=float32[batch,3,224,224]", "--name", "lite0-by-url",
    )  # fmt: skip
    process = run(*arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    assert len(weights_server.requests) == 2
    assert run(*arguments, cwd=tmp_path).returncode == 0
    assert results(tmp_path / "out.json")[0]["unchanged"]
    assert run(*arguments, "--force", cwd=tmp_path).returncode == 0
    assert len(weights_server.requests) == 2


@pytest.mark.parametrize("arguments", [(), ("--force",)])
def test_a_dead_tracking_server_has_status_3(arguments: tuple[str, ...], tmp_path: Path, prefect_server: str) -> None:
    """MLflow out of reach is said in one sentence, with the variable to check, whether it is asked first or later."""
    dead = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    process = run(*arguments, cwd=tmp_path, **dead)
    assert process.returncode == 3
    (line,) = process.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert "MLFLOW_TRACKING_URI" in line
    assert "Traceback" not in process.stdout


@pytest.mark.slow
def test_three_architectures_with_random_weights(tmp_path: Path, store: str, prefect_server: str) -> None:
    """ResNet, MobileNet and ViT with random weights pass with power, and are unchanged the second time."""
    arguments = (
        "resnet18",
        "mobilenet_v3_small",
        "vit_b_32",
        "--weights",
        "random",
        "-o",
        "out/",
        "--json",
        "out.json",
    )
    process = run(*arguments, cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    first = results(tmp_path / "out.json")
    assert [r["verdict"] for r in first] == ["pass"] * 3
    assert all(o["power"]["movement"] > 1000 for r in first for o in r["parity"].values())
    assert run(*arguments, cwd=tmp_path).returncode == 0
    assert [r["unchanged"] for r in results(tmp_path / "out.json")] == [True] * 3


@pytest.mark.slow
def test_alexnet_keeps_the_names_of_pytorchs_example(tmp_path: Path, store: str, prefect_server: str) -> None:
    """A batch of 10, actual_input_1, learned_0 to learned_15 in order, output1."""
    import torch
    from torchvision.models import alexnet

    torch.manual_seed(0)
    torch.save(alexnet().state_dict(), tmp_path / "alexnet.pth")
    process = run("alexnet", "--weights", "alexnet.pth", "-o", "alexnet.onnx", cwd=tmp_path)
    assert process.returncode == 0, process.stderr
    graph = onnx.load(tmp_path / "alexnet.onnx").graph
    assert [i.name for i in graph.input] == ["actual_input_1"]
    assert [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim] == [10, 3, 224, 224]
    assert [o.name for o in graph.output] == ["output1"]
    weights = {t.name: list(t.dims) for t in graph.initializer}
    assert [weights[f"learned_{i}"] for i in (0, 1, 14, 15)] == [[64, 3, 11, 11], [64], [1000, 4096], [1000]]
    assert {f"learned_{i}" for i in range(16)} <= weights.keys()


@pytest.mark.slow
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
def test_equal_content_gives_equal_bytes_in_another_folder(
    exporter: str, tmp_path: Path, store: str, prefect_server: str
) -> None:
    """Two copies of the project in different folders write the same file, and no path gets into it."""
    hashes = []
    for folder in ("one", "two/deeper"):
        clone = tmp_path / folder
        kept = shutil.ignore_patterns(".git", ".venv", "mlruns", "mlflow.db*", "__pycache__", "*.egg-info")
        shutil.copytree(PROJECT, clone, ignore=kept)
        process = subprocess.run(
            [sys.executable, "flows/export.py", "--force", "--exporter", exporter, "-o", "digits.onnx"],
            cwd=clone,
            env={**os.environ, "PYTHONPATH": str(clone), "MLFLOW_EXPERIMENT_NAME": "onnx-exports"},
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stderr
        content = (clone / "digits.onnx").read_bytes()
        hashes.append(hashlib.sha256(content).hexdigest())
        for private in (str(tmp_path), str(PROJECT), str(Path.home()), sys.prefix, "site-packages"):
            assert private.encode() not in content
    assert hashes[0] == hashes[1]
