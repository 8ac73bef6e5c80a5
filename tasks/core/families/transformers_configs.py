"""What can be told of a model of transformers by its config.json and the names of its tasks. Needs no PyTorch."""

import json
from pathlib import Path
from typing import Any

from tasks.core.errors import SpecError

CONFIG = "config.json"
PIPELINE = "modules.json"
"""Where a folder is one of sentence-transformers: its modules, the first of which is the model."""
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
VARIABLE_PICTURES = frozenset(
    ("convnext", "convnextv2", "resnet", "regnet", "mobilenet_v1", "mobilenet_v2", "segformer", "poolformer", "bit")
)
"""Types of model that take pictures of any size, though their configs may name one."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config of a folder; empty where there is none.

    Raises:
        SpecError: it is no JSON object.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except OSError:
        return {}
    except ValueError as error:
        raise SpecError(f"{folder.name}/{CONFIG} is no JSON ({error}); fetch it anew.") from error
    if not isinstance(config, dict):
        raise SpecError(f"{folder.name}/{CONFIG} is no JSON object; give a folder that save_pretrained wrote.")
    return config


def static_dims(folder: Path) -> dict[str, str]:
    """What of the inputs is not dynamic though a user might expect it, and why."""
    config = read_config(folder)
    seen = config.get("vision_config") or config
    if "image_size" not in seen or seen.get("model_type") in VARIABLE_PICTURES:
        return {}
    return {"height and width": "the config says one image_size, for which its positions are made"}
