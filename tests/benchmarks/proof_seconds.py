"""Where the seconds of `validate_onnx` go, and those of an earlier revision beside them, in one run.

    python tests/benchmarks/proof_seconds.py [MODEL...] [--against REVISION] [--pairs N] [--write FILE.md]

MODEL is what `flows/export.py` takes, with random weights; `hf-vit` and `hf-bert` are a ViT-B/16 and a BERT-base of
transformers, which must be installed. Each run is a process of its own, both revisions by turns; all of them export by
tracing. A part's seconds leave out those of the parts within it.
"""

import argparse
import collections
import functools
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
MODELS = ("resnet50", "efficientnet_b5", "ssdlite320_mobilenet_v3_large", "hf-vit", "hf-bert")
BY_HAND = {
    "hf-vit": ("vit", "pixel_values=float32[batch,3,224,224]"),
    "hf-bert": ("bert", "input_ids=int64[batch,length=16:2..512]@0..30521"),
}
"""Name of a factory in `FACTORIES`, and its input."""
FACTORIES = """
import torch, transformers
def vit():
    return transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=1000))
def bert():
    return transformers.BertModel(transformers.BertConfig(), add_pooling_layer=False)
"""
PARTS = (
    ("ONNX Runtime opens the file", "tasks.core.runtime.session_client", "SessionClient.open"),
    ("ONNX Runtime answers", "tasks.core.runtime.session_client", "SessionClient.answers"),
    ("weights accounted for", "tasks.core.proof.validation", "account_for"),
    ("missing weights exercised", "tasks.core.proof.validation", "cover"),
    ("structure", "tasks.core.proof.validation", "structural_findings"),
    ("arithmetic of the comparison", "tasks.core.proof.comparison", "Comparison.add"),
    ("search for a wrong node", "tasks.core.proof.validation", "_search"),
    ("probes drawn", "tasks.core.inputs.inputs", "Inputs.arrays"),
)
"""Label, module and name of what is timed; a run of the module is labelled by its kind."""


def main() -> None:
    """Print a table a model: parts, and the whole before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--against", metavar="REVISION", help="an earlier revision of Assay")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="also write the tables there")
    parser.add_argument("--one", type=Path, metavar="REPORT", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _report(options.models[0], options.one)
        return
    with tempfile.TemporaryDirectory(prefix="assay-benchmark-") as folder:
        lines = list(_tables(options.models, options.against, options.pairs, folder=Path(folder)))
    if options.write:
        options.write.write_text("\n".join(lines) + "\n")


def _tables(models: list[str], against: str | None, num_pairs: int, *, folder: Path) -> Any:
    trees = {"now": PROJECT}
    if against:
        trees = {against: folder / "before", **trees}
        subprocess.run(["git", "-C", PROJECT, "worktree", "add", "-q", "--detach", trees[against], against], check=True)
    try:
        for model in models:
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
            for _ in range(num_pairs):
                for name, tree in trees.items():
                    runs[name].append(_run(model, tree, folder / name))
            for line in _table(model, runs):
                print(line, flush=True)
                yield line
    finally:
        if against:
            subprocess.run(["git", "-C", PROJECT, "worktree", "remove", "--force", trees[against]], check=True)


def _run(model: str, tree: Path, store: Path) -> dict[str, Any]:
    """One export in a process of its own."""
    store.mkdir(exist_ok=True)
    report = store / "report.json"
    paths = os.pathsep.join(filter(None, [str(tree), os.environ.get("PYTHONPATH")]))
    own = {
        "MLFLOW_TRACKING_URI": f"sqlite:///{store}/mlflow.db",
        "ASSAY_CACHE": str(store / "cache"),
        "PYTHONPATH": paths,
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
    }
    command = [sys.executable, __file__, model, "--one", str(report)]
    process = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, cwd=store)
    if process.returncode:
        raise SystemExit(f"{model} in {tree} ended with {process.returncode}:\n{process.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def _table(model: str, runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    names = list(runs)
    whole = {name: median(run["seconds"] for run in runs[name]) for name in names}
    parts = dict.fromkeys(part for name in names for run in runs[name] for part in run["parts"])
    load = max(run["load"] for name in names for run in runs[name])
    lines = ["", f"{model}: {', '.join(runs['now'][0]['verdicts'])}; load {load:.1f} at most", ""]
    lines += [f"| part | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    rows = [(part, [median(run["parts"].get(part, 0.0) for run in runs[name]) for name in names]) for part in parts]
    for part, seconds in sorted(rows, key=lambda row: -row[1][0]):
        lines.append(f"| {part} | {' | '.join(f'{value:.2f}' for value in seconds)} |")
    lines.append(f"| **all of validate_onnx** | {' | '.join(f'**{whole[name]:.2f}**' for name in names)} |")
    if len(names) > 1:
        ratios = sorted(b["seconds"] / a["seconds"] for a, b in zip(*runs.values(), strict=True))
        lines.append(f"| ratio, median of {len(ratios)} pairs | | {median(ratios):.2f} |")
    return lines


def _report(model: str, report: Path) -> None:
    """Export a model in this process while the parts of the proof are timed."""
    from flows.export import export_model
    from tasks.core.proof import validation
    from tasks.core.reference.calls import Calls
    from tasks.core.spec.export_spec import ExportSpec

    seconds: dict[str, float] = collections.defaultdict(float)
    inner = [0.0]

    def timed(label: Any, call: Any) -> Any:
        @functools.wraps(call)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            inner.append(0.0)
            try:
                return call(*args, **kwargs)
            finally:
                took = time.perf_counter() - started
                seconds[label(args) if callable(label) else label] += took - inner.pop()
                inner[-1] += took

        return wrapper

    for label, module, path in PARTS:
        owner, _, name = path.rpartition(".")
        holder = importlib.import_module(module)
        holder = getattr(holder, owner) if owner else holder
        setattr(holder, name, timed(label, getattr(holder, name)))
    Calls.run = timed(lambda args: f"module: {args[1].__name__.removeprefix('run_')}", Calls.run)  # type: ignore[method-assign]
    validate, verdicts = validation.validate, []

    def validated(*args: Any, **kwargs: Any) -> Any:
        seconds.clear()
        proof = timed("the rest", validate)(*args, **kwargs)
        verdicts.append(f"{proof.evidence.verdict}, noise ratio {proof.evidence.noise_ratio:.2f}")
        parts.update(seconds)
        return proof

    parts: dict[str, float] = {}
    validation.validate = validated
    spec: dict[str, Any] = {"model": model, "weights": "random", "exporter": "torchscript"}
    if model in BY_HAND:
        factory, text = BY_HAND[model]
        Path("factories.py").write_text(FACTORIES)
        spec |= {"model": f"factories.py:{factory}", "inputs": (text,), "name": model}
    result = export_model(ExportSpec(**spec), force=True)
    found = {"seconds": result.seconds["validate_onnx"], "parts": parts, "verdicts": verdicts}
    report.write_text(json.dumps({**found, "load": os.getloadavg()[0]}))


if __name__ == "__main__":
    main()
