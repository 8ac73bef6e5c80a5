"""Whatever a sentence quotes, it stays one line of 500 characters, without passwords and control signs."""

import pytest

from tasks.core.errors import AssayError, NarrowedError, SpecError, one_line
from tasks.core.sentences import LONGEST, sentence, without_secrets


@pytest.mark.parametrize("quoted", ["x" * 1_000_000, "word " * 200_000, "ab/" * 20_000, "é" * 5_000])
@pytest.mark.parametrize("kind", [AssayError, SpecError])
def test_a_long_quotation_is_cut_and_the_fix_stays(kind: type[AssayError], quoted: str) -> None:
    """Fact and fix are there, whatever lies between them."""
    said = str(kind(f"There is no model {quoted}; name one of the catalog."))
    assert len(said) <= LONGEST
    assert said.startswith("There is no model ")
    assert said.endswith("; name one of the catalog.")
    assert "…" in said


def test_what_is_short_enough_is_said_as_it_is() -> None:
    """No sentence of usual length changes, nor a subclass's whose constructor takes more."""
    said = "There is no file a/b c.onnx; name an .onnx file, as 'é.onnx' · <x> {y}."
    assert sentence(said) == said
    assert str(NarrowedError(said, {}, None)) == said


@pytest.mark.parametrize(
    ("quoted", "shown"),
    [
        ("a\nb\r\n\tc\u2028d", "a b c d"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("\ud800", "\\ud800"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),
        ("\x00", "\\x00"),
    ],
)
def test_signs_that_act_on_a_terminal_are_written_out(quoted: str, shown: str) -> None:
    """Line breaks become blanks; what moves, colours or turns a line, and what no encoding writes, becomes letters."""
    assert sentence(f"No {quoted}.") == f"No {shown}."
    sentence(f"No {quoted}.").encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:pa@ss@host/x?token=abc#f failed", "https://host/x#f failed"),
        ("postgresql://me:secret@db:5432/mlflow", "postgresql://db:5432/mlflow"),
        ("('https://h/w.pth?X-Amz-Signature=1',)", "('https://h/w.pth',)"),
        ("mail a@b.example, see https://h/x", "mail a@b.example, see https://h/x"),
    ],
)
def test_addresses_lose_what_is_secret(text: str, shown: str) -> None:
    """Users, passwords and queries; in what libraries say, too."""
    assert without_secrets(text) == sentence(text) == one_line(ValueError(text)) == shown
