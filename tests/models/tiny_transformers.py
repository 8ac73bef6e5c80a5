"""Tiny models of transformers, as folders that `save_pretrained` writes."""

from pathlib import Path
from typing import Any

import torch
import transformers

TEXT: dict[str, Any] = {
    "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 37,
    "max_position_embeddings": 40,
}  # fmt: skip
transformers.utils.logging.disable_progress_bar()


def saved(model_class: Any, config: Any, folder: Path, *, dtype: torch.dtype = torch.float32) -> Any:
    """Build a model of seed 0 in eval mode and save it; gives the model."""
    torch.manual_seed(0)
    model = model_class(config).to(dtype).eval()
    model.save_pretrained(folder)
    return model


def bert(folder: Path) -> Any:
    """A classifier of three classes, with two kinds of tokens."""
    labels = {0: "bad", 1: "good", 2: "neither"}
    return saved(transformers.BertForSequenceClassification, transformers.BertConfig(**TEXT, id2label=labels), folder)


def llama(folder: Path) -> Any:
    """A decoder with grouped heads and rotary positions, kept in bfloat16."""
    config = transformers.LlamaConfig(**TEXT, num_key_value_heads=2)
    return saved(transformers.LlamaForCausalLM, config, folder, dtype=torch.bfloat16)


def gpt2(folder: Path) -> Any:
    """A decoder with a table of positions and tied weights."""
    config = transformers.GPT2Config(
        vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=40, bos_token_id=98, eos_token_id=98
    )
    return saved(transformers.GPT2LMHeadModel, config, folder)


def vit(folder: Path) -> Any:
    """A classifier of pictures of 16 by 16."""
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, image_size=16, patch_size=4
    )
    return saved(transformers.ViTForImageClassification, config, folder)


def sentences(folder: Path) -> Any:
    """A pipeline of sentence-transformers: BERT, the mean over tokens, length 1; texts are cut at 24 tokens."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "cat", "sat", "on", "a", "mat"]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    saved(transformers.BertModel, transformers.BertConfig(**TEXT), folder / "encoder")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder / "encoder")
    encoder = Transformer(str(folder / "encoder"), max_seq_length=24)
    model = SentenceTransformer(modules=[encoder, Pooling(32, "mean"), Normalize()], device="cpu")
    model.save(str(folder))
    return model
