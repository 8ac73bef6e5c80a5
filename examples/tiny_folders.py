"""Write two folders as libraries of Hugging Face write them: tiny-bert/, and tiny-sentences/ with a pipeline around it.

python examples/tiny_folders.py
"""

import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "metal", "is", "tested", "before", "it", "stamped"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}

if __name__ == "__main__":
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=len(WORDS), id2label={0: "base", 1: "noble"}, **SIZES)
    transformers.BertForSequenceClassification(config).save_pretrained("tiny-bert")
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=64
    ).save_pretrained("tiny-bert")
    encoder = Transformer("tiny-bert", max_seq_length=64)
    SentenceTransformer(modules=[encoder, Pooling(32, "mean"), Normalize()], device="cpu").save("tiny-sentences")
