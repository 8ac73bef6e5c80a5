"""Command lines called in this process."""

from typing import Any


class Ran:
    """What a command line in this process came to."""

    def __init__(self, status: int, results: list[dict[str, Any]], printed: tuple[str, str]) -> None:
        self.status, self.results = status, results
        self.out, self.err = printed
        assert "Traceback" not in self.out + self.err, self.out + self.err

    @property
    def named(self) -> dict[str, dict[str, Any]]:
        """The results by name."""
        return {result["name"]: result for result in self.results}

    @property
    def verdicts(self) -> list[str]:
        """One a file or model."""
        return [result["verdict"] for result in self.results]

    @property
    def notes(self) -> str:
        """Of all files or models."""
        return "; ".join(note for result in self.results for note in result["notes"])

    @property
    def sentence(self) -> str:
        """The one line that an error prints."""
        (line,) = self.err.strip().splitlines()
        assert line.startswith("error: ")
        return line
