"""What errors may say: one line that can be read, without passwords and without signs that act on a terminal."""

import re

LONGEST = 500
"""Characters of a sentence: what it quotes of a file or an option is cut, not the fact before it or the fix behind."""
_LONG_WORD = re.compile(r"\S{80,}")
_PASSWORD = re.compile(r"(?<=://)[^/\s]*@")
_QUERY = re.compile(r"(\b\w[\w+.-]*://[^\s?#'\"]+)\?[^\s#'\")]*")
"""Presigned addresses carry their key there."""
_BREAK = re.compile(r"\s*[\t\n\v\f\r\x1c-\x1e\x85\u2028\u2029]\s*")


def sentence(text: str, *, longest: int = LONGEST) -> str:
    """The text on one line, its long words and then its middle cut out where it is too long.

    Args:
        text: what is to be said, with whatever it quotes.
        longest: number of characters.
    """
    text = _BREAK.sub(" ", without_secrets(text))
    text = text if text.isprintable() else "".join(s if s.isprintable() else ascii(s)[1:-1] for s in text)
    if len(text) > longest:
        text = _LONG_WORD.sub(lambda word: f"{word[0][:40]}…{word[0][-30:]}", text)
    if len(text) > longest:
        end = longest * 2 // 5
        text = f"{text[: longest - end - 3]} … {text[-end:]}"
    return text


def without_secrets(text: str) -> str:
    """The text whose addresses have lost users, passwords and queries."""
    return _QUERY.sub(r"\1", _PASSWORD.sub("", text))
