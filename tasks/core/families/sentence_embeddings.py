"""Folders of sentence-transformers: ids and mask in, the embedding of the sentence out, through all their modules."""

import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tasks.core.errors import SpecError, one_line
from tasks.core.families.python import USUAL_LENGTH
from tasks.core.families.transformers_configs import check_code, title_of
from tasks.core.families.transformers_inputs import longest_of
from tasks.core.families.transformers_loading import load


def load_sentences(
    folder: Path, *, pretrained: bool = False, task: str = "", trust_remote_code: bool = False, **options: Any
) -> nn.Module:
    """Load the whole pipeline in float32, as its users do; or the model in it, if a task is named.

    Args:
        folder: holds modules.json.
        pretrained: with the folder's weights, without which there is no pipeline.
        task: as of any model of transformers.
        trust_remote_code: run Python code of the folder, where its configs name classes there.
        options: of SentenceTransformer.

    Raises:
        SpecError: sentence-transformers is not installed, can't load the folder, or was to be given other weights.
    """
    if task:
        return load(folder, pretrained=pretrained, task=task, trust_remote_code=trust_remote_code, **options)
    check_code(folder, trusted=trust_remote_code)
    if importlib.util.find_spec("sentence_transformers") is None:
        raise SpecError(
            f"{title_of(folder)} needs sentence-transformers, which is not installed; pip install -e '.[hf]'."
        )
    import transformers
    from sentence_transformers import SentenceTransformer

    if not pretrained:
        raise SpecError(
            f"{title_of(folder)} is a pipeline of sentence-transformers, which is exported with its own weights."
        )
    transformers.utils.logging.disable_progress_bar()
    # float32 whatever the weights are kept in; nothing is looked for elsewhere
    made: dict[str, Any] = {"device": "cpu", "local_files_only": True, "model_kwargs": {"dtype": torch.float32}}
    made["trust_remote_code"] = trust_remote_code
    try:
        model: nn.Module = SentenceTransformer(str(folder), **{**made, **options})
    except (ValueError, OSError, KeyError, ImportError) as error:
        raise SpecError(f"sentence-transformers can't load {title_of(folder)}: {one_line(error)}.") from error
    return model


def sentence_inputs(module: Any) -> tuple[str, ...]:
    """Ids and mask, as `--input` writes them; empty where the first module reads no ids.

    Args:
        module: a SentenceTransformer.
    """
    encoder = getattr(module[0], "auto_model", None)
    if encoder is None:
        return ()
    bounds = [bound for bound in (module.max_seq_length, longest_of(encoder)) if bound]
    size = f"={min(USUAL_LENGTH, *bounds)}:1..{min(bounds)}" if bounds else f"={USUAL_LENGTH}"
    shape = f"int64[batch_size,sequence_length{size}]"
    return f"input.input_ids={shape}@0..{encoder.config.vocab_size - 1}", f"input.attention_mask={shape}@padded-either"
