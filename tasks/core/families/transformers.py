"""Models of Hugging Face's transformers: `hf:./my-bert`, a folder with config.json and weights, or `hf:ORG/NAME`."""

import functools
import importlib.util
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tasks.core.errors import SpecError, WeightsError, some
from tasks.core.families.family import Exporter, Family, NamedWeights
from tasks.core.families.transformers_configs import (
    AUTO_CLASSES,
    BESIDE,
    CONFIG,
    PIPELINE,
    check_code,
    own_code,
    pipeline_parts,
    preprocessing_of,
    static_dims,
)
from tasks.core.network.hub import HubModel, HubWeights, cached_models, fetch_files, hub_model, require_file
from tasks.core.records.preprocessing import Preprocessing

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger("assay")

PREFIX = "hf:"
_DESCRIPTION = (
    *(
        CONFIG,
        PIPELINE,
        *BESIDE,
        "processor_config.json",
        "config_sentence_transformers.json",
        "sentence_*_config.json",
    ),
    *("[0-9]_*/*.json", "*.py"),
)
"""Files of a model on the hub that say what it is: configs, those of a pipeline's modules, and code if it has some."""
_TOKENIZERS = (
    *("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model"),
    "[0-9]_*/*.txt",
)
"""Files beside the weights."""
_OWN_MODULES = "transformers_modules."
"""Where transformers imports code that comes with a model."""
_INSIDE = re.compile(r"_\d+$|^(past_key_values|hidden_states|attentions|\w+_model_output)")
"""Outputs of inner layers, of caches and of the towers inside a model."""
_HEAD = re.compile(r"logits$|^pred_")
"""Outputs of a head, beside which nobody asks for the state that it was computed from."""
_STATE = re.compile(r"last_hidden_state$|_embeds$")
"""Outputs of a model without a head, and what a projection makes of them."""


class TransformersFamily(Family):
    """Every model that transformers builds from a config, in a folder or on the hub."""

    name = "transformers"
    syntax = "hf:FOLDER, hf:ORG/NAME[@REVISION]"
    packages = ("transformers",)
    names_weights = chooses_outputs = True

    @override
    def recognises(self, model: object) -> bool:
        return isinstance(model, str) and model.startswith(PREFIX)

    @override
    def fields(self, model: str) -> dict[str, Any]:
        """Named by the folder, whose path is made absolute, or by the model on the hub; its own weights."""
        if there := _on_hub(model):
            return {"name": _name(there.repo.rpartition("/")[2]), "weights": "DEFAULT"}
        folder = _folder(model)
        if model == PREFIX or not folder.name:
            raise SpecError(f"{model} names no folder; write {self.syntax}.")
        return {
            "name": _name(folder.name),
            "model": f"{PREFIX}{folder}",
            "weights": "DEFAULT",
            "static": static_dims(folder),
        }

    @override
    def pinned(self, model: str) -> dict[str, Any]:
        """A model of the hub at the commit that its revision means now; its config is fetched."""
        if (there := _on_hub(model)) is None:
            return {}
        folder = fetch_files(_installed(model, there), _DESCRIPTION)
        require_file(there, folder, CONFIG)
        if folder.name != there.revision:
            log.info("%s is commit %s", there, folder.name)
        return {"model": f"{PREFIX}{there.repo}@{folder.name}", "static": static_dims(folder)}

    @override
    def has_weights_here(self, model: str) -> bool:
        """In the folder; of a model on the hub in the cache, at some commit."""
        return there.repo in cached_models() if (there := _on_hub(model)) else _folder(model).is_dir()

    @override
    def text_of(self, model: str) -> str:
        return f"{PREFIX}{_on_hub(model) or _folder(model).name}"

    @override
    def file_of(self, model: str) -> Path | None:
        return None if _on_hub(model) else _folder(model) / CONFIG

    @override
    def source_files(self, model: str) -> tuple[Path, ...]:
        """Of a folder; on the hub the commit says it all."""
        if _on_hub(model):
            return ()
        folder = _folder(model)
        beside = sorted(folder.glob("[0-9]_*/*")) if (folder / PIPELINE).is_file() else []
        beside += sorted(folder.glob("*.py")) if own_code(folder) else []
        return tuple(
            path for path in (*(folder / name for name in (CONFIG, PIPELINE, *BESIDE)), *beside) if path.is_file()
        )

    @override
    def check_trust(self, model: str, *, trusted: bool) -> None:
        there = _on_hub(model)
        if there is None or there.is_commit:
            check_code(_folder(model), trusted=trusted)

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
        """Its own, which transformers itself loads: it knows the keys that its versions renamed."""
        if weights != "DEFAULT":
            raise WeightsError(f"{model} has no weights {weights!r}; give DEFAULT (its own), a file or random.")
        folder = _folder(model)
        if there := _on_hub(model):
            parts = [str(part.get("path") or "") for part in pipeline_parts(folder)]
            folders = ("", *(f"{part}/" for part in parts if part))
            location: Path | HubWeights = HubWeights(model=there, folders=folders, beside=_TOKENIZERS)
        else:
            location = folder
        origin = there.repo if there else folder.name
        return NamedWeights(origin=origin, location=location, arguments={"pretrained": True})

    @override
    def fixes_weights(self, model: str) -> bool:
        """Those of a commit are what they are."""
        return (there := _on_hub(model)) is not None and there.is_commit

    @override
    def own_weights(self, model: str) -> Path | None:
        return None if _on_hub(model) else _folder(model)

    @override
    def loading_notes(self, module: "nn.Module") -> tuple[str, ...]:
        """Whose code is run, what was left aside, and how attention is computed."""
        from tasks.core.families.transformers_loading import NOTES, attention_of

        own = {type(part).__name__ for part in module.modules() if type(part).__module__.startswith(_OWN_MODULES)}
        trusted = (f"code of the model's own is run (--trust-remote-code): {some(sorted(own))}",) if own else ()
        attention = attention_of(module)
        return (*trusted, *NOTES.get(module, ()), *([f"attention: {attention}"] if attention else []))

    @override
    def stand_ins(self, module: "nn.Module") -> "Iterator[tuple[str, nn.Module]]":
        """One whose attention is eager, if this one's is not."""
        from tasks.core.families.transformers_loading import attention_of, with_eager_attention

        if attention_of(module) not in ("", "eager"):
            yield "eager attention", with_eager_attention(module)

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
            heads = [name for name in kept if _HEAD.search(name)]
            kept = heads or [name for name in kept if _STATE.search(name)]
        return tuple(kept or names)


def _is_pipeline(module: "nn.Module") -> bool:
    return type(module).__name__ == "SentenceTransformer"


def _on_hub(model: str) -> HubModel | None:
    """The model of the hub that a text names; None where it is a folder, as it is if there is one."""
    text = model.removeprefix(PREFIX)
    return None if Path(text).is_dir() else hub_model(text)


def _folder(model: str) -> Path:
    """Where the config is, at least; of a model of the hub in the cache."""
    if there := _on_hub(model):
        return fetch_files(_installed(model, there), _DESCRIPTION)
    return Path(model.removeprefix(PREFIX)).expanduser().absolute()


def _installed(model: str, there: HubModel) -> HubModel:
    """The model, if its libraries are there to fetch it with; else a SpecError."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise SpecError(f"{model} needs transformers, which is not installed; pip install -e '.[hf]'.")
    return there


def _name(text: str) -> str:
    """As MLflow allows it."""
    return re.sub(r"[^\w-]", "_", text)
