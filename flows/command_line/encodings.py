"""Streams whose encoding lacks some signs: these are written in other letters, never with a traceback."""

import codecs
import io
import unicodedata
from typing import TextIO

_NAME = "assay.other_letters"
_PLAIN = {"✔": "+", "✘": "x", "–": "-", "×": "x"}


def writable_in_any_encoding(stream: TextIO) -> TextIO:
    """The stream; it writes what its encoding lacks in other letters, in ASCII e.g. `+ pass` for a tick mark."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_NAME)
    return stream


def _other_letters(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_plain, error.object[error.start : error.end])), error.end


def _plain(sign: str) -> str:
    decomposed = unicodedata.normalize("NFKD", sign).encode("ascii", "ignore").decode()
    return _PLAIN.get(sign) or decomposed or "?"


codecs.register_error(_NAME, _other_letters)
