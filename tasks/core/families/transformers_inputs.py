"""Inputs of a model of transformers: from forward's parameters and the config, with Optimum's names and dimensions."""

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from tasks.core.families.python import USUAL_LENGTH
from tasks.core.families.transformers_configs import takes_any_size

_BATCH = "batch_size"
_TEXTS, _PICTURES = "text_batch_size=3", "image_batch_size=2"
"""Batches of models with two towers, each of which may be given any number; to trace at different ones."""
_LONGEST = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_target_positions")
"""What configs call the length of the longest sequence."""
_NUM_FRAMES = 12
"""Of a wave, after its convolutions, to trace at."""


def inputs_of(module: nn.Module, parameters: list[str]) -> tuple[str, ...]:
    """Declare the inputs of a model, as `--input` writes them; empty where nothing is known of its main one.

    Args:
        module: the model, with its `config`.
        parameters: names of forward's parameters.
    """
    found = {name: text for name in parameters if name in _INPUTS and (text := _INPUTS[name](module))}
    if "pixel_values" in found and "input_ids" in found and not hasattr(module.config, "vision_config"):
        del found["pixel_values"]
    if not {"input_ids", "pixel_values", "input_values", "input_features"} & found.keys():
        return ()
    if "input_ids" not in found:
        found.pop("attention_mask", None)
        found.pop("token_type_ids", None)
    return tuple(f"{name}={text}" for name, text in found.items())


def _ids(module: nn.Module) -> str:
    config = _text(module)
    return f"{_sequences(module)}@0..{config.vocab_size - 1}" if hasattr(config, "vocab_size") else ""


def _mask(module: nn.Module) -> str:
    return f"{_sequences(module)}@padded-either"


def _token_types(module: nn.Module) -> str:
    kinds = getattr(_text(module), "type_vocab_size", 0) or 0
    return f"{_sequences(module)}@0..{kinds - 1}" if kinds > 1 else ""


def _positions(module: nn.Module) -> str:
    """Of decoders, which may be asked to go on after a padded beginning."""
    name, longest = type(module).__name__, longest_of(module)
    is_decoder = name.endswith(("ForCausalLM", "LMHeadModel"))
    return f"{_sequences(module)}@0..{longest - 1}" if is_decoder and longest else ""


def _decoder_ids(module: nn.Module) -> str:
    config, whole = _text(module), cast(Any, module.config)
    if not whole.is_encoder_decoder or not hasattr(config, "vocab_size"):
        return ""
    return f"int64[{_BATCH},{_dim('decoder_sequence_length', longest_of(module))}]@0..{config.vocab_size - 1}"


def _pixels(module: nn.Module) -> str:
    config: Any = getattr(module.config, "vision_config", module.config)
    side = getattr(config, "image_size", None)
    if isinstance(side, dict):
        side = (side["height"], side["width"])
    height, width = (side, side) if isinstance(side, int) else tuple(side or (224, 224))
    channels = getattr(config, "num_channels", getattr(config, "in_channels", 3))
    batch = _PICTURES if _has_two_towers(module) else _BATCH
    if takes_any_size(config.to_dict()):
        return f"float32[{batch},{channels},height={height},width={width}]"
    return f"float32[{batch},{channels},{height},{width}]"


def _wave(module: nn.Module) -> str:
    """Samples of a wave, or a spectrogram where the config has its size."""
    config: Any = module.config
    if hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):
        return f"float32[{_BATCH},{config.max_length},{config.num_mel_bins}]"
    if not hasattr(config, "conv_kernel"):
        return ""
    least, size = (_num_samples(config, frames) for frames in (2, _NUM_FRAMES))
    return f"float32[{_BATCH},sequence_length={size}:{least}..]"


def _features(module: nn.Module) -> str:
    config: Any = module.config
    bins = getattr(config, "num_mel_bins", getattr(config, "feature_size", None))
    if bins is None:
        return ""
    frames = 2 * config.max_source_positions if hasattr(config, "max_source_positions") else 0
    return f"float32[{_BATCH},{bins},{frames}]" if frames else ""


_INPUTS: dict[str, Callable[[nn.Module], str]] = {
    "input_ids": _ids,
    "attention_mask": _mask,
    "token_type_ids": _token_types,
    "position_ids": _positions,
    "pixel_values": _pixels,
    "input_values": _wave,
    "input_features": _features,
    "decoder_input_ids": _decoder_ids,
}
"""By parameter of forward: its dtype, dims and range; empty where this model takes none."""


def _text(module: nn.Module) -> Any:
    """The config of the part that reads text."""
    config: Any = module.config
    return getattr(config, "text_config", None) or config


def _sequences(module: nn.Module) -> str:
    """Dtype and dims of what there is one of for each token."""
    config: Any = module.config
    is_encoder = config.is_encoder_decoder or type(module).__name__.endswith("EncoderModel")
    length = _dim("encoder_sequence_length" if is_encoder else "sequence_length", longest_of(module))
    return f"int64[{_TEXTS if _has_two_towers(module) else _BATCH},{length}]"


def _has_two_towers(module: nn.Module) -> bool:
    """Does a model embed texts and pictures apart, as CLIP does?"""
    return hasattr(module, "get_text_features") and hasattr(module, "get_image_features")


def _dim(name: str, longest: int) -> str:
    return f"{name}={min(USUAL_LENGTH, longest)}:1..{longest}" if longest else f"{name}={USUAL_LENGTH}"


def longest_of(module: nn.Module) -> int:
    """Of the sequences that a model takes; 0: its config names none.

    A table of positions with a padding index leaves out the rows up to it, as RoBERTa's does.
    """
    config = _text(module)
    longest = next((v for name in _LONGEST if isinstance(v := getattr(config, name, None), int) and v > 0), 0)
    for name, part in module.named_modules():
        if name.endswith("position_embeddings") and isinstance(part, nn.Embedding) and part.padding_idx is not None:
            return min(longest, part.num_embeddings - part.padding_idx - 1)
    return longest


def _num_samples(config: Any, num_frames: int) -> int:
    """Samples from which the convolutions make so many frames."""
    size = num_frames
    for kernel, stride in zip(reversed(config.conv_kernel), reversed(config.conv_stride), strict=True):
        size = (size - 1) * int(stride) + int(kernel)
    return size
