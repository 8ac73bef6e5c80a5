"""Damage texts and files at random until one of them is met by anything but a sentence.

python tests/faults/fuzz.py [--seconds N] [--seed N] [--target NAME]

Each round prints its seed; `--seed` repeats it. Exit status 1 and the smallest example where something else came of it.
"""

import argparse
import faulthandler
import io
import itertools
import json
import pickle
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from safetensors.torch import save

from tasks.core.errors import AssayError
from tasks.core.inputs.samples import read_sample
from tasks.core.onnx_files.checks import structural_findings
from tasks.core.onnx_files.reading import read_graph, readable
from tasks.core.onnx_files.value_sizes import check_values
from tasks.core.spec.catalog import read_catalog
from tasks.core.spec.input_memory import check_input_memory
from tasks.core.spec.input_spec import InputSpec, derived_dims
from tasks.core.spec.resolve import make_spec
from tasks.core.spec.version_name import VersionName
from tasks.core.weights.checkpoint_files import read_sets
from tasks.core.weights.loading import load_weights
from tasks.core.weights.urls import split_part, split_url

EXAMPLES = 200
"""Of a round."""
TENSORS = {"weight": torch.ones(3, 4), "bias": torch.zeros(3)}
_PIECES = st.sampled_from(
    ["x", "=", "float32", "int64", "bool", "[", "]", ",", "batch", "n", "=16", ":1..8", "3", "0", "-1", "+", "*", "@",
     "0..103", "@padded", "1e999", "nan", " ", "é", "²", "\x00", "\ud800", "9" * 30, "https://", "host", "/",
     "#sha256=", "models:/", "?", "[::1", "%", "{", "}", "'", '"', "\n", ": ", "- ", "&a ", "*a",
     "!!python/name:os.system "]
)  # fmt: skip
TEXTS = st.lists(_PIECES | st.text(max_size=4), max_size=14).map("".join)
_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
_EDITS = st.lists(
    st.tuples(
        st.floats(0, 1), st.sampled_from(["set", "insert", "cut", "flip", "repeat"]), st.binary(min_size=1, max_size=9)
    ),
    min_size=1, max_size=6,
)  # fmt: skip


def checkpoints() -> list[bytes]:
    """One of each format."""
    zipped, old, arrays = io.BytesIO(), io.BytesIO(), io.BytesIO()
    torch.save({"state_dict": TENSORS, "epoch": 3}, zipped)
    torch.save(TENSORS, old, _use_new_zipfile_serialization=False)
    np.savez(arrays, **{key: value.numpy() for key, value in TENSORS.items()})
    plain = pickle.dumps({key: value.numpy() for key, value in TENSORS.items()})
    program = io.BytesIO()
    torch.export.save(torch.export.export(torch.nn.Linear(4, 3), (torch.zeros(2, 4),)), program)
    return [zipped.getvalue(), old.getvalue(), arrays.getvalue(), plain, save(TENSORS), program.getvalue()]


def onnx_files() -> list[bytes]:
    """A layer with large weights, and one with branches, a function and sparse weights."""
    given_, out = (onnx.helper.make_tensor_value_info(name, 1, ["n", 4]) for name in "xy")
    large = onnx.numpy_helper.from_array(np.ones((4, 512), np.float32), "w")
    small = onnx.numpy_helper.from_array(np.ones((512, 4), np.float32), "v")
    nodes = [onnx.helper.make_node("MatMul", ["x", "w"], ["a"]), onnx.helper.make_node("MatMul", ["a", "v"], ["y"])]
    first = onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [given_], [out], [large, small]))
    branch = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["b"])], "b", [], [
        onnx.helper.make_tensor_value_info("b", 1, None)])  # fmt: skip
    choice = onnx.helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    constant = onnx.helper.make_node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.array(True)))
    second = onnx.helper.make_model(onnx.helper.make_graph([constant, choice], "g", [given_], [out]))
    return [bytes(first.SerializeToString()), bytes(second.SerializeToString())]


def damaged(bases: list[bytes]) -> st.SearchStrategy[bytes]:
    """Files of these, edited in a few places."""

    def edit(base: bytes, edits: list[tuple[float, str, bytes]]) -> bytes:
        content = bytearray(base)
        for share, how, data in edits:
            place = int(share * len(content))
            if how == "set":
                content[place : place + len(data)] = data
            elif how == "insert":
                content[place:place] = data
            elif how == "cut":
                del content[place : place + data[0] * len(data)]
            elif how == "flip" and place < len(content):
                content[place] ^= data[0]
            elif how == "repeat":
                content[place:place] = content[place : place + data[0]]
        return bytes(content)

    return st.builds(edit, st.sampled_from(bases), _EDITS)


def parse(text: str, values: Any) -> None:
    """All that reads texts of options."""
    calls: list[Callable[[], object]] = [
        lambda: derived_dims([InputSpec.parse(text)]),
        lambda: check_input_memory([InputSpec.parse(f"x=float32[{text}]")]),
        lambda: make_spec(model=text, name=text, weights=text, inputs=(text,), outputs=(text,), kwargs={text: values}),
        lambda: make_spec(model="resnet18", kwargs=values, static={text: text}).canonical_json(),
        lambda: VersionName.parse(text),
        lambda: split_url(f"https://{text}"),
        lambda: split_part(f"https://{text}"),
        lambda: json.dumps(str(AssayError(text))),
    ]
    for call in calls:
        _only_sentences(call)


def _only_sentences(call: Callable[[], object]) -> None:
    try:
        call()
    except AssayError as error:
        if len(str(error)) > error.longest or not str(error).isprintable():
            raise RuntimeError(f"no sentence: {error!a}") from error


def _of_file(folder: Path, name: str, *reads: Callable[[Path], object]) -> Callable[[bytes], None]:
    path = folder / name

    def run(content: bytes) -> None:
        path.write_bytes(content)
        for read in reads:
            _only_sentences(lambda read=read: read(path))  # type: ignore[misc]

    return run


def _load(path: Path) -> None:
    load_weights(torch.nn.Linear(4, 3), read_sets(path))


def _look(path: Path) -> None:
    import onnx_ir as ir

    graph = read_graph(path)
    check_values(path, {"x": (2, 4)})
    structural_findings(graph)
    readable(ir.load(path))


def targets(folder: Path) -> dict[str, tuple[Callable[..., None], tuple[st.SearchStrategy[Any], ...]]]:
    """What is called, and what with, by name.

    Args:
        folder: for the files.
    """
    catalog = TEXTS.map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=40)
    return {
        "spec": (parse, (TEXTS, _PLAIN)),
        "catalog": (_of_file(folder, "catalog.yaml", read_catalog), (catalog,)),
        "checkpoint": (_of_file(folder, "w.pth", _load), (damaged(checkpoints()),)),
        "sample": (_of_file(folder, "x.npz", read_sample), (damaged(checkpoints()[2:3]),)),
        "onnx": (_of_file(folder, "m.onnx", _look), (damaged(onnx_files()),)),
    }


def fuzz(seconds: float, *, first_seed: int, only: str | None = None, examples: int = EXAMPLES) -> int:
    """Go on for so long; gives the number of examples. What is no sentence is raised.

    Args:
        seconds: at least one round of each target is run.
        first_seed: of the first round; each further one has the next.
        only: name of the target; None: all in turn.
        examples: of a round.
    """
    number, latest = 0, time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = {name: target for name, target in targets(Path(folder)).items() if only in (None, name)}
        for round_seed in itertools.count(first_seed):
            for name, (call, strategies) in known.items():
                print(f"{name} --seed {round_seed}", flush=True)
                quiet = settings(
                    max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck),
                    phases=(Phase.generate, Phase.shrink),
                )  # fmt: skip
                seed(round_seed)(quiet(given(*strategies)(call)))()
                number += examples
            if time.monotonic() > latest:
                return number
    return number


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=("spec", "catalog", "checkpoint", "sample", "onnx"))
    options = parser.parse_args()
    faulthandler.enable()
    print(f"{fuzz(options.seconds, first_seed=options.seed, only=options.target):,} examples, none unexpected")
    return 0


if __name__ == "__main__":
    sys.exit(main())
