"""Record what files of Optimum's exporter look like: names, dims and opset, which Assay's are held against.

    python tests/benchmarks/optimum_names.py [--environment FOLDER] [--write tests/core/families/optimum_names.json]
        [--select GLOB]

Each model is a tiny one of tests/models/tiny_architectures.py, saved to a folder and given to `optimum-cli export onnx`
with its task, in an environment of its own as `beside_optimum.py` makes it.
tests/core/families/test_optimum_names.py reads what is written.
"""

import argparse
import fnmatch
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import onnx

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tests.benchmarks.beside_optimum import PACKAGES, environment  # noqa: E402
from tests.models.tiny_architectures import ARCHITECTURES  # noqa: E402

MODELS = {
    "bert": ("bert", "text-classification", "model.onnx"),
    "roberta": ("roberta", "fill-mask", "model.onnx"),
    "xlm-roberta": ("xlm-roberta", "token-classification", "model.onnx"),
    "distilbert": ("distilbert", "text-classification", "model.onnx"),
    "mobilebert": ("mobilebert", "question-answering", "model.onnx"),
    "mpnet": ("mpnet", "feature-extraction", "model.onnx"),
    "gpt2": ("gpt2", "text-generation", "model.onnx"),
    "gpt-neox": ("gpt-neox", "text-generation", "model.onnx"),
    "t5-encoder": ("t5", "text2text-generation", "encoder_model.onnx"),
    "vit": ("vit", "image-classification", "model.onnx"),
    "resnet": ("resnet", "image-classification", "model.onnx"),
    "segformer": ("segformer", "semantic-segmentation", "model.onnx"),
    "yolos": ("yolos", "object-detection", "model.onnx"),
    "wav2vec2": ("wav2vec2", "automatic-speech-recognition", "model.onnx"),
    "clip": ("clip", "zero-shot-image-classification", "model.onnx"),
}
"""By name in ARCHITECTURES: the one that Optimum is given, its task (of decoders that without a cache), the file."""


def main() -> None:
    """Export each and write what its file has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", type=Path, help="folder for Optimum's environment; default a temporary one")
    parser.add_argument("--write", type=Path, metavar="FILE.json", help="default: print it")
    parser.add_argument(
        "--select", metavar="GLOB", default="*", help="of these only; the others stay as FILE.json has them"
    )
    options = parser.parse_args()
    known = json.loads(options.write.read_text())["models"] if options.write and options.write.exists() else {}
    with tempfile.TemporaryDirectory(prefix="assay-optimum-") as folder:
        command = environment(options.environment or Path(folder) / "environment").parent / "optimum-cli"
        for name in fnmatch.filter(MODELS, options.select):
            known[name] = recorded(command, *MODELS[name], Path(folder))
    models = {name: known[name] for name in MODELS if name in known}
    text = json.dumps({"packages": PACKAGES, "models": models}, indent=1) + "\n"
    if options.write:
        options.write.write_text(text)
    else:
        print(text)


def recorded(command: Path, name: str, task: str, file: str, folder: Path) -> dict[str, Any]:
    """What Optimum's file of a model has.

    Args:
        command: optimum-cli.
        name: one of ARCHITECTURES.
        task: as Optimum calls it.
        file: one of those that Optimum writes.
        folder: for the model and its files.
    """
    model, made = folder / name, folder / f"{name}-optimum"
    ARCHITECTURES[name]().save_pretrained(model)
    arguments = ["export", "onnx", "--model", model, "--task", task, made]
    subprocess.run([command, *arguments], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    proto = onnx.load(str(made / file), load_external_data=False)
    (opset,) = (known.version for known in proto.opset_import if not known.domain)
    return {"task": task, "opset": opset, "inputs": dims(proto.graph.input), "outputs": dims(proto.graph.output)}


def dims(values: Any) -> dict[str, list[str | int]]:
    """Names of inputs or outputs with their dims: words or sizes."""
    return {value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim] for value in values}


if __name__ == "__main__":
    main()
