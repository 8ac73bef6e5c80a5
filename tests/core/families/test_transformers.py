"""Models of transformers in a folder: names, inputs and outputs are derived, weights loaded as the library does."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from tasks.core.errors import AssayError, SpecError, WeightsError
from tasks.core.export.fallback import export
from tasks.core.families.transformers import TransformersFamily
from tasks.core.families.transformers_configs import static_dims
from tasks.core.families.transformers_inputs import inputs_of
from tasks.core.forward.arguments import forward_parameters
from tasks.core.forward.loaded_state import LoadedState
from tasks.core.inputs.choice import choose_inputs
from tasks.core.model.building import build_with_weights
from tasks.core.proof.validation import validate
from tasks.core.provenance.attempts import provenance
from tasks.core.provenance.manifest import make_manifest
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import check, make_spec, resolve
from tasks.core.weights.sources import find_weights, same_weights
from tests.models.tiny_transformers import TEXT, bert, gpt2, llama, saved, vit

FAMILY = TransformersFamily()
T5 = {"vocab_size": 99, "d_model": 16, "d_ff": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8}
IDS = "int64[batch_size,sequence_length=16:1..40]@0..98"
MASK = "int64[batch_size,sequence_length=16:1..40]@padded-either"


def built(folder: Path, **fields: Any) -> tuple[Any, Any]:
    """The module of `hf:FOLDER`, and the report of its loading."""
    spec = resolve(make_spec(model=f"hf:{folder}", **fields))
    check(spec)
    return build_with_weights(spec, find_weights(spec, lambda uri: pytest.fail(uri)))


def test_nothing_is_imported_for_other_models_or_for_a_name(tmp_path: Path) -> None:
    """Neither PyTorch nor transformers, to fill a spec by a name and to find what is wrong with it."""
    code = (
        "import sys; from tasks.core.spec.resolve import check_files, make_spec, resolve; import contextlib\n"
        "for model in ('hf:./bert', 'alexnet', 'digits'):\n"
        "    with contextlib.suppress(Exception): check_files(resolve(make_spec(model=model, task='fill-mask')))\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0


def test_a_folder_is_named_without_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is called as its folder, as MLflow allows; its record is equal on every machine."""
    vit(tmp_path / "a" / "vit.v1")
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "vit.v1").rename(tmp_path / "b" / "vit.v1")
    vit(tmp_path / "a" / "vit.v1")
    monkeypatch.chdir(tmp_path)
    first, second = (resolve(ExportSpec(model=f"hf:{folder}/vit.v1")) for folder in "ab")
    assert (first.name, first.model, first.weights) == ("vit_v1", f"hf:{tmp_path}/a/vit.v1", "DEFAULT")
    assert first.canonical_json() == second.canonical_json()
    assert json.loads(first.canonical_json())["model"] == "hf:vit.v1"
    assert "height and width" in first.static


@pytest.mark.parametrize(
    ("make", "changes", "fields", "message"),
    [
        (None, {}, {}, "There is no file .*config.json; a model of this kind is given as hf:FOLDER"),
        (bert, {}, {"task": "translation"}, "--task translation is none that .* there are feature-extraction"),
        (bert, {}, {"task": "image-classification"}, "is a bert, which transformers has no image-classification of"),
        (bert, {}, {"weights": "V2"}, "has no weights 'V2'; give DEFAULT"),
        (bert, {}, {"task": "question-answering"}, "2 keys of BertForQuestionAnswering are missing .* qa_outputs.bias"),
        (bert, {"model_type": "bart2"}, {}, "describes no model of transformers"),
        (bert, {"architectures": ["MyBert"]}, {}, "is a MyBert, which transformers does not have"),
        (bert, {"auto_map": {"AutoModel": "net.Net"}}, {}, "runs code of its own"),
        (bert, None, {}, "is no JSON"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(
    make: Callable[[Path], Any] | None, changes: Any, fields: Any, message: str, tmp_path: Path
) -> None:
    """A folder, task, config or set of weights that will not do is told before anything is exported."""
    folder = tmp_path / "model"
    if make is not None:
        make(folder)
        config = folder / "config.json"
        text = json.dumps({**json.loads(config.read_text()), **changes}) if changes is not None else "{"
        config.write_text(text)
    with pytest.raises(AssayError, match=message):
        built(folder, **fields)


def test_hf_without_a_folder_and_tasks_of_others_are_refused() -> None:
    """`hf:` alone names nothing; a task is a matter of transformers."""
    with pytest.raises(SpecError, match="names no folder"):
        resolve(ExportSpec(model="hf:"))
    with pytest.raises(SpecError, match="only those of transformers"):
        check(resolve(ExportSpec(model="alexnet", task="fill-mask", weights="random")))


def test_weights_are_loaded_as_the_library_loads_them(tmp_path: Path) -> None:
    """bfloat16 becomes float32, tied weights stay tied, old keys are known, what is left aside is told; no cache."""
    model = llama(tmp_path / "llama").float()
    module, report = built(tmp_path / "llama")
    assert {value.dtype for value in module.state_dict().values()} == {torch.float32}
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in module.state_dict().items())
    assert not module.config.use_cache
    assert report.num_parameters == sum(p.numel() for p in model.parameters())
    gpt2(tmp_path / "gpt2")
    module, _ = built(tmp_path / "gpt2")
    assert module.lm_head.weight is module.transformer.wte.weight

    bert(tmp_path / "bert")
    file = tmp_path / "bert" / "model.safetensors"
    tensors = load_file(file)
    save_file({**tensors, "bert.embeddings.position_ids": torch.arange(40)[None]}, file, metadata={"format": "pt"})
    _, report = built(tmp_path / "bert", task="feature-extraction")
    assert any("transformers leaves" in note and "classifier.bias" in note for note in report.notes)
    save_file({k: v for k, v in tensors.items() if k != "classifier.bias"}, file, metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"missing from the weights of bert: classifier.bias"):
        built(tmp_path / "bert")


def test_states_of_inner_layers_are_collected_once(tmp_path: Path) -> None:
    """A head that takes the hidden states of all stages gets each of them once, however often its model was run."""
    config = transformers.SegformerConfig(
        image_size=32, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=8,
    )  # fmt: skip
    saved(transformers.SegformerForSemanticSegmentation, config, tmp_path / "segformer")
    module, _ = built(tmp_path / "segformer", weights="random")
    for _ in range(2):
        with LoadedState(module).kept(), torch.no_grad():
            states = module.segformer(torch.zeros(1, 3, 32, 32), output_hidden_states=True).hidden_states
            assert len(states) == 4


def test_other_weights_may_be_given(tmp_path: Path) -> None:
    """Random ones of a seed, and a file, loaded strictly; a changed config or weights file is another model."""
    model = bert(tmp_path / "bert")
    file = tmp_path / "other.safetensors"
    save_file({key: value + 1 for key, value in model.state_dict().items()}, file)
    module, report = built(tmp_path / "bert", weights=str(file))
    assert torch.equal(module.classifier.bias, model.classifier.bias + 1)
    assert report.source_files.keys() == {str(tmp_path / "bert" / "config.json")}
    first, second = (built(tmp_path / "bert", weights="random:3")[1].state_sha256 for _ in range(2))
    assert first == second
    spec = resolve(ExportSpec(model=f"hf:{tmp_path}/bert"))
    known = find_weights(spec, lambda uri: pytest.fail(uri)).file_sha256
    assert same_weights(spec, known)
    (tmp_path / "bert" / "model.safetensors").write_bytes(file.read_bytes())
    assert not same_weights(spec, known)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: transformers.BertModel(transformers.BertConfig(**TEXT)),
         (f"input_ids={IDS}", f"attention_mask={MASK}", f"token_type_ids={IDS.replace('98', '1')}")),
        # a table of 40 positions, of which padding and what stands before it are left out
        (lambda: transformers.RobertaForMaskedLM(transformers.RobertaConfig(**TEXT, type_vocab_size=1)),
         (f"input_ids={IDS.replace('40', '38')}", f"attention_mask={MASK.replace('40', '38')}")),
        (lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(**TEXT)),
         (f"input_ids={IDS}", f"attention_mask={MASK}", f"position_ids={IDS.replace('98', '39')}")),
        (lambda: transformers.T5EncoderModel(transformers.T5Config(**T5)),
         ("input_ids=int64[batch_size,encoder_sequence_length=16]@0..98",
          "attention_mask=int64[batch_size,encoder_sequence_length=16]@padded-either")),
        (lambda: transformers.T5Model(transformers.T5Config(**T5)),
         ("input_ids=int64[batch_size,encoder_sequence_length=16]@0..98",
          "attention_mask=int64[batch_size,encoder_sequence_length=16]@padded-either",
          "decoder_input_ids=int64[batch_size,decoder_sequence_length=16]@0..98")),
        (lambda: transformers.CLIPModel(transformers.CLIPConfig(
            text_config={**TEXT, "eos_token_id": 98}, vision_config={**TEXT, "image_size": 16, "patch_size": 4})),
         ("input_ids=int64[text_batch_size=3,sequence_length=16:1..40]@0..98",
          "pixel_values=float32[image_batch_size=2,3,16,16]",
          "attention_mask=int64[text_batch_size=3,sequence_length=16:1..40]@padded-either")),
        (lambda: transformers.ViTModel(transformers.ViTConfig(hidden_size=12, image_size=(32, 48))),
         ("pixel_values=float32[batch_size,3,32,48]",)),
        (lambda: transformers.ResNetModel(transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8], depths=[1])),
         ("pixel_values=float32[batch_size,3,height=224,width=224]",)),
        (lambda: transformers.MobileNetV2Model(transformers.MobileNetV2Config(image_size=64, depth_multiplier=0.25)),
         ("pixel_values=float32[batch_size,3,64,64]",)),
        (lambda: transformers.MobileNetV2Model(
            transformers.MobileNetV2Config(image_size=64, depth_multiplier=0.25, tf_padding=False)),
         ("pixel_values=float32[batch_size,3,height=64,width=64]",)),
        (lambda: transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(
            hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, conv_dim=(8, 8),
            conv_kernel=(8, 4), conv_stride=(4, 2), num_feat_extract_layers=2, num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2)),
         ("input_values=float32[batch_size,sequence_length=108:28..]",)),
    ],
    ids=["bert", "roberta", "llama", "t5 encoder", "t5", "clip", "vit", "resnet", "padded", "mobilenet", "wav2vec2"],
)  # fmt: skip
def test_inputs_come_from_forward_and_the_config(make: Callable[[], Any], expected: tuple[str, ...]) -> None:
    """Names, dims and ranges are those that users of other tools know; lengths end where the positions end."""
    module = make()
    assert inputs_of(module, forward_parameters(module)) == expected


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"model_type": "vit", "image_size": 32}, "one image_size"),
        ({"model_type": "clip", "vision_config": {"model_type": "clip_vision_model", "image_size": 32}}, "one image"),
        ({"model_type": "mobilenet_v2", "image_size": 64}, "TensorFlow"),
        ({"model_type": "mobilenet_v2", "image_size": 64, "tf_padding": False}, ""),
        ({"model_type": "resnet"}, ""),
        ({"model_type": "bert"}, ""),
    ],
)
def test_what_is_static_has_its_reason(config: dict[str, Any], reason: str, tmp_path: Path) -> None:
    """Height and width, where positions are made for one size or padding follows from it; nothing of others."""
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert reason in static_dims(tmp_path).get("height and width", "")
    assert bool(static_dims(tmp_path)) == bool(reason)


def test_outputs_are_those_that_the_model_is_for() -> None:
    """The last hidden state without the pooled one; logits, and none of what lies inside."""
    assert FAMILY.kept_outputs("hf:x", ["last_hidden_state", "pooler_output"]) == ("last_hidden_state",)
    inside = ["logits", "encoder_last_hidden_state", "hidden_states_0", "text_model_output_pooler_output"]
    assert FAMILY.kept_outputs("hf:x", inside) == ("logits", "encoder_last_hidden_state")
    assert FAMILY.kept_outputs("hf:x", ["start_logits", "end_logits"]) == ("start_logits", "end_logits")
    assert FAMILY.kept_outputs("hf:x", ["pooler_output"]) == ("pooler_output",)
    boxes = ["logits", "pred_boxes", "last_hidden_state"]
    assert FAMILY.kept_outputs("hf:x", boxes) == ("logits", "pred_boxes")
    assert FAMILY.kept_outputs("hf:x", ["text_embeds", "last_hidden_state"]) == ("text_embeds", "last_hidden_state")


def test_what_the_model_was_trained_to_see_and_tell_is_carried(tmp_path: Path) -> None:
    """Labels of the config, what the processor does to a picture, the tokenizer's name: in the file's metadata."""
    bert(tmp_path / "bert")
    (tmp_path / "bert" / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer"}')
    processor = {
        "size": {"shortest_edge": 18}, "crop_size": {"height": 16, "width": 16}, "do_center_crop": True, "resample": 3,
        "image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.2], "rescale_factor": 0.5,
    }  # fmt: skip
    (tmp_path / "bert" / "preprocessor_config.json").write_text(json.dumps(processor))
    spec = resolve(ExportSpec(model=f"hf:{tmp_path}/bert"))
    weights = find_weights(spec, lambda uri: pytest.fail(uri))
    _, report = build_with_weights(spec, weights)
    manifest = make_manifest(spec, weights, report)
    assert len(manifest.sources) == 3
    said = provenance(spec, weights, manifest, preprocessing=report.preprocessing)
    expected = {
        "labels": '["bad", "good", "neither"]', "tokenizer": "BertTokenizer", "resize": "[18]", "crop": "[16, 16]",
        "interpolation": "bicubic", "mean": "[0.5, 0.4, 0.3]", "std": "[0.2, 0.2, 0.2]", "rescale": "0.5",
        "transformers": transformers.__version__, "model": "hf:bert",
    }  # fmt: skip
    assert {f"assay.{name}": value for name, value in expected.items()}.items() <= said.items()
    vit(tmp_path / "vit")
    _, report = built(tmp_path / "vit")
    assert report.preprocessing.facts == {}


def only_runs(module: Any, *args: Any, **kwargs: Any) -> Any:
    """Attention that no exporter takes, as of kernels written by hand."""
    if torch.jit.is_tracing() or torch.compiler.is_exporting():
        raise RuntimeError("this attention runs, and no more")
    return sdpa_attention_forward(module, *args, **kwargs)


@pytest.mark.slow
def test_eager_attention_is_taken_where_the_other_does_not_export(tmp_path: Path) -> None:
    """On a copy that shares the weights, and said; the module that the file is held against stays as it was loaded."""
    transformers.AttentionInterface.register("only_runs", only_runs)
    transformers.AttentionMaskInterface.register("only_runs", sdpa_mask)
    bert(tmp_path / "model")
    spec = resolve(make_spec(model=f"hf:{tmp_path}/model", kwargs={"attn_implementation": "only_runs"}))
    module, report = built(tmp_path / "model", kwargs={"attn_implementation": "only_runs"})
    assert "attention: only_runs" in report.notes
    reference = Reference(module, choose_inputs(spec, module))
    candidate, _ = export(spec, reference, provenance={}, folder=tmp_path)
    assert candidate.graph.exporter_reason.endswith("so torchscript with eager attention")
    assert "exported with eager attention, on a copy of the module" in candidate.graph.notes
    assert module.config._attn_implementation == "only_runs"
    evidence = validate(candidate, reference).evidence
    assert evidence.verdict == "pass", evidence.reasons


def test_a_copy_with_eager_attention_shares_its_weights(tmp_path: Path) -> None:
    """There is none of a module whose attention is eager already."""
    bert(tmp_path / "bert")
    module, _ = built(tmp_path / "bert")
    ((words, copied),) = FAMILY.stand_ins(module)
    assert words == "eager attention"
    assert copied.bert.encoder.layer[0].attention.self.config._attn_implementation == "eager"
    assert module.bert.encoder.layer[0].attention.self.config._attn_implementation == "sdpa"
    assert all(value is module.get_parameter(name) for name, value in copied.named_parameters())
    assert list(FAMILY.stand_ins(copied)) == []


@pytest.mark.slow
@pytest.mark.parametrize("make", [gpt2, llama, vit])
def test_a_folder_is_exported_and_proven_with_nothing_else_said(make: Callable[[Path], Any], tmp_path: Path) -> None:
    """From `hf:FOLDER` to a pass, with padding on either side where there is a mask."""
    make(tmp_path / "model")
    spec = resolve(ExportSpec(model=f"hf:{tmp_path}/model"))
    module, _ = built(tmp_path / "model")
    reference = Reference(module, choose_inputs(spec, module))
    candidate, _ = export(spec, reference, provenance={}, folder=tmp_path)
    evidence = validate(candidate, reference).evidence
    assert evidence.verdict == "pass", evidence.reasons
    assert [output.name for output in candidate.graph.outputs] == ["logits"]
    assert candidate.graph.inputs[0].dims[0] == "batch_size"
