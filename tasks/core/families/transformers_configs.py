"""What can be told of a model of transformers by its config.json and the names of its tasks. Needs no PyTorch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.core.errors import SpecError
from tasks.core.records.preprocessing import Preprocessing

CONFIG = "config.json"
PIPELINE = "modules.json"
"""Where a folder is one of sentence-transformers: its modules, the first of which is the model."""
BESIDE = (PROCESSOR, TOKENIZER) = ("preprocessor_config.json", "tokenizer_config.json")
"""What decides the metadata besides the config, where it is there."""
AUTO_CLASSES = {
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "multiple-choice": "AutoModelForMultipleChoice",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "image-classification": "AutoModelForImageClassification",
    "zero-shot-image-classification": "AutoModelForZeroShotImageClassification",
    "object-detection": "AutoModelForObjectDetection",
    "semantic-segmentation": "AutoModelForSemanticSegmentation",
    "depth-estimation": "AutoModelForDepthEstimation",
    "image-to-image": "AutoModelForImageToImage",
    "audio-classification": "AutoModelForAudioClassification",
    "audio-frame-classification": "AutoModelForAudioFrameClassification",
    "audio-xvector": "AutoModelForAudioXVector",
    "automatic-speech-recognition": "AutoModelForCTC",
    "speech-to-text": "AutoModelForSpeechSeq2Seq",
}
"""Classes of transformers by the task that `--task` names."""
_INTERPOLATIONS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Names of what configs number as Pillow does."""
VARIABLE_PICTURES = frozenset(
    ("convnext", "convnextv2", "resnet", "regnet", "mobilenet_v1", "mobilenet_v2", "segformer", "poolformer", "bit")
)
"""Types of model that take pictures of any size, though their configs may name one."""
_PADDED_BY_SIZE = ("mobilenet_v1", "mobilenet_v2")
"""Of these, where the config does not say otherwise, those that pad as TensorFlow does."""


def title_of(folder: Path) -> str:
    """What sentences call a folder: its name, or ORG/NAME where it lies in the cache of the hub's library."""
    if folder.parent.name != "snapshots":
        return folder.name
    return folder.parents[1].name.removeprefix("models--").replace("--", "/")


def read_config(folder: Path, name: str = CONFIG) -> dict[str, Any]:
    """Read a config of a folder; empty where there is none.

    Args:
        folder: of the model.
        name: of the file.

    Raises:
        SpecError: it is no JSON object.
    """
    try:
        config = json.loads((folder / name).read_text(encoding="utf-8"))
    except OSError:
        return {}
    except ValueError as error:
        raise SpecError(f"{title_of(folder)}/{name} is no JSON ({error}); fetch it anew.") from error
    if not isinstance(config, dict):
        raise SpecError(f"{title_of(folder)}/{name} is no JSON object; give a folder that save_pretrained wrote.")
    return config


def check_code(folder: Path, *, trusted: bool) -> None:
    """Check that a model brings no Python code of its own, or that it is trusted; else a SpecError.

    Args:
        folder: of the model.
        trusted: `--trust-remote-code` was given.
    """
    if not trusted and (said := own_code(folder)):
        raise SpecError(
            f"{title_of(folder)} runs code of its own ({said}); read it, and allow it with --trust-remote-code, or "
            f"give its class as path/to/file.py:Class."
        )


def own_code(folder: Path) -> str:
    """What in a folder's configs names classes that its libraries do not have; empty: nothing."""
    for name in (CONFIG, TOKENIZER):
        if "auto_map" in read_config(folder, name) and (name == CONFIG or (folder / PIPELINE).is_file()):
            return f"auto_map in {name}"
    types = [str(part.get("type")) for part in pipeline_parts(folder)]
    foreign = [kind for kind in types if not kind.startswith("sentence_transformers.")]
    return f"{foreign[0]} in {PIPELINE}" if foreign else ""


def pipeline_parts(folder: Path) -> list[dict[str, Any]]:
    """The modules of a folder of sentence-transformers, as modules.json has them; empty for other folders.

    Raises:
        SpecError: it is no list of objects.
    """
    try:
        parts = json.loads((folder / PIPELINE).read_text(encoding="utf-8"))
    except OSError:
        return []
    except ValueError as error:
        raise SpecError(f"{title_of(folder)}/{PIPELINE} is no JSON ({error}); fetch it anew.") from error
    if not isinstance(parts, list) or not all(isinstance(part, dict) for part in parts):
        raise SpecError(f"{title_of(folder)}/{PIPELINE} is no list of modules; give a folder that save() wrote.")
    return parts


def static_dims(folder: Path) -> dict[str, str]:
    """What of the inputs is not dynamic though a user might expect it, and why."""
    config = read_config(folder)
    seen = config.get("vision_config") or config
    if takes_any_size(seen) or ("image_size" not in seen and seen.get("model_type") not in VARIABLE_PICTURES):
        return {}
    if seen.get("model_type") in VARIABLE_PICTURES:
        return {"height and width": "padding as TensorFlow's (tf_padding) depends on the size, and tracing freezes it"}
    return {"height and width": "the config says one image_size, for which its positions are made"}


def takes_any_size(config: Mapping[str, Any]) -> bool:
    """Does a model take pictures of any size, and pad them by numbers that do not follow from it?

    Args:
        config: of the model, or of the part that sees.
    """
    pads_by_size = config.get("model_type") in _PADDED_BY_SIZE and config.get("tf_padding", True)
    return config.get("model_type") in VARIABLE_PICTURES and not pads_by_size


def preprocessing_of(folder: Path) -> Preprocessing:
    """What the model was trained to see and to tell: labels of the config, and what processor and tokenizer say."""
    labels, processor = read_config(folder).get("id2label") or {}, read_config(folder, PROCESSOR)
    named = tuple(str(label) for _, label in sorted(labels.items(), key=lambda item: int(item[0])))
    return Preprocessing(
        labels=() if all(label == f"LABEL_{index}" for index, label in enumerate(named)) else named,
        resize=_sides(processor.get("size")) if processor.get("do_resize", True) else (),
        crop=_sides(processor.get("crop_size")) if processor.get("do_center_crop") else (),
        interpolation=_INTERPOLATIONS.get(processor.get("resample", -1), ""),
        mean=tuple(processor.get("image_mean") or ()) if processor.get("do_normalize", True) else (),
        std=tuple(processor.get("image_std") or ()) if processor.get("do_normalize", True) else (),
        rescale=float(processor.get("rescale_factor") or 0.0) if processor.get("do_rescale", True) else 0.0,
        tokenizer=str(read_config(folder, TOKENIZER).get("tokenizer_class") or ""),
    )


def _sides(size: Any) -> tuple[int, ...]:
    """The shorter side, or height and width, of what a processor's config calls a size."""
    if isinstance(size, int):
        return (size,)
    if not isinstance(size, dict):
        return ()
    return (
        (size["shortest_edge"],)
        if "shortest_edge" in size
        else tuple(size[k] for k in ("height", "width") if k in size)
    )
