"""Models of Hugging Face's transformers in a folder: `hf:./my-bert`, which holds config.json and weights."""

import functools
import importlib.util
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tasks.core.errors import SpecError, WeightsError
from tasks.core.families.family import Exporter, Family, NamedWeights
from tasks.core.families.transformers_configs import (
    AUTO_CLASSES,
    BESIDE,
    CONFIG,
    PIPELINE,
    preprocessing_of,
    static_dims,
)
from tasks.core.records.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

PREFIX = "hf:"
_INSIDE = re.compile(r"_\d+$|^(past_key_values|hidden_states|attentions|\w+_model_output)")
"""Outputs of inner layers, of caches and of the towers inside a model."""


class TransformersFamily(Family):
    """Every model that transformers builds from a folder with its config."""

    name = "transformers"
    syntax = "hf:FOLDER"
    packages = ("transformers",)
    names_weights = chooses_outputs = True

    @override
    def recognises(self, model: object) -> bool:
        return isinstance(model, str) and model.startswith(PREFIX)

    @override
    def fields(self, model: str) -> dict[str, Any]:
        """Named by the folder, whose path is made absolute; its own weights."""
        folder = _folder(model)
        if model == PREFIX or not folder.name:
            raise SpecError(f"{model} names no folder; write {self.syntax}.")
        return {
            "name": re.sub(r"[^\w-]", "_", folder.name),
            "model": f"{PREFIX}{folder}",
            "weights": "DEFAULT",
            "static": static_dims(folder),
        }

    @override
    def text_of(self, model: str) -> str:
        return f"{PREFIX}{_folder(model).name}"

    @override
    def file_of(self, model: str) -> Path:
        return _folder(model) / CONFIG

    @override
    def source_files(self, model: str) -> tuple[Path, ...]:
        folder = _folder(model)
        beside = sorted(folder.glob("[0-9]_*/*")) if (folder / PIPELINE).is_file() else []
        return tuple(
            path for path in (*(folder / name for name in (CONFIG, PIPELINE, *BESIDE)), *beside) if path.is_file()
        )

    @override
    def tasks(self) -> tuple[str, ...]:
        return tuple(AUTO_CLASSES)

    @override
    def factory(self, model: str) -> "Callable[..., nn.Module]":
        """A callable that builds the model of the config, or loads it with the folder's weights."""
        if importlib.util.find_spec("transformers") is None:
            raise SpecError(f"{model} needs transformers, which is not installed; pip install -e '.[hf]'.")
        folder = _folder(model)
        if (folder / PIPELINE).is_file():
            from tasks.core.families.sentence_embeddings import load_sentences

            return functools.partial(load_sentences, folder)
        from tasks.core.families.transformers_loading import load

        return functools.partial(load, folder)

    @override
    def weights(self, model: str, weights: str) -> NamedWeights:
        """The folder's own, which transformers itself loads: it knows the keys that its versions renamed."""
        folder = _folder(model)
        if weights != "DEFAULT":
            raise WeightsError(f"{model} has no weights {weights!r}; give DEFAULT (the folder's), a file or random.")
        return NamedWeights(origin=folder.name, location=folder, arguments={"pretrained": True})

    @override
    def loading_notes(self, module: "nn.Module") -> tuple[str, ...]:
        from tasks.core.families.transformers_loading import NOTES

        return NOTES.get(module, ())

    @override
    def default_inputs(self, model: str, module: "nn.Module", parameters: list[str]) -> tuple[str, ...]:
        """What forward takes, with the names and dimensions that Optimum gives them, ranges from the config."""
        if _is_pipeline(module):
            from tasks.core.families.sentence_embeddings import sentence_inputs

            return sentence_inputs(module)
        from tasks.core.families.transformers_inputs import inputs_of

        return inputs_of(module, parameters)

    @override
    def preprocessing(self, model: str, module: "nn.Module") -> Preprocessing:
        return preprocessing_of(_folder(model))

    @override
    def input_names(self, module: "nn.Module") -> tuple[str, ...]:
        """A pipeline takes its inputs in a dict; in the file they have its keys."""
        return ("input_ids", "attention_mask") if _is_pipeline(module) else ()

    @override
    def exporter_order(self, model: str) -> tuple[tuple[Exporter, ...], str]:
        """TorchScript first: of decoders whose rows are padded on the left dynamo makes another function."""
        return ("torchscript", "dynamo"), "transformers: same proof, and right for rows that are padded on the left"

    @override
    def kept_outputs(self, model: str, names: Sequence[str]) -> tuple[str, ...]:
        """Those that the model is for: of hidden states the last, no pooled one beside it, nothing of inner layers."""
        if "sentence_embedding" in names:
            return ("sentence_embedding",)
        kept = [name for name in names if not _INSIDE.search(name)]
        if "last_hidden_state" in kept:
            kept = [name for name in kept if name in ("last_hidden_state", "encoder_last_hidden_state")]
        return tuple(kept or names)


def _is_pipeline(module: "nn.Module") -> bool:
    return type(module).__name__ == "SentenceTransformer"


def _folder(model: str) -> Path:
    return Path(model.removeprefix(PREFIX)).expanduser().absolute()
