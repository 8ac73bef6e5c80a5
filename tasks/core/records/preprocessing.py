"""What a model was trained to see and to tell."""

import json
from collections.abc import Mapping
from typing import Self

from tasks.core.records.record import Record


class Preprocessing(Record):
    """What a model was trained to see and to tell: its labels, and what is done to a picture before."""

    labels: tuple[str, ...] = ()
    """Name of each class, by index."""
    resize: tuple[int, ...] = ()
    """Pixels of the shorter side, or (height, width); empty: as the picture is."""
    crop: tuple[int, ...] = ()
    """Pixels of a square, or (height, width), cut from the middle; empty: no crop."""
    interpolation: str = ""
    mean: tuple[float, ...] = ()
    """Subtracted by channel, after values were scaled to 0..1."""
    std: tuple[float, ...] = ()
    """Divided by, by channel, after that."""
    rescale: float = 0.0
    """Factor of values before the mean; 0: none is named."""
    tokenizer: str = ""
    """Name of the tokenizer's class."""

    @classmethod
    def from_facts(cls, facts: Mapping[str, str]) -> Self:
        """What `facts` were made of.

        Args:
            facts: of a file's metadata, others among them.
        """
        texts = {name: facts[name] for name in cls.model_fields if name in facts}
        is_text = {name for name, field in cls.model_fields.items() if field.annotation is str}
        return cls(**{name: text if name in is_text else json.loads(text) for name, text in texts.items()})

    @property
    def facts(self) -> dict[str, str]:
        """What is known, as text by name: what a file's metadata says."""
        found = self.model_dump(exclude_defaults=True)
        return {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items()}
