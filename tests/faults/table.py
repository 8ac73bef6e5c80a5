"""The table of docs/reliability.md: each part of the bench writes its own rows and leaves the others."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

_BEGIN, _END = "<!-- {} -->", "<!-- end of {} -->"
PART = "kills"
Counts = dict[str, Counter[str]]
"""By what was done: how often, and what was wrong after it."""


def read_counts(path: Path | None, what: Iterable[str]) -> Counts:
    """The counts of an earlier run that did not come to its end; empty ones where there was none.

    Args:
        path: of its JSON.
        what: is to be done.
    """
    earlier = json.loads(path.read_text()) if path and path.exists() else {}
    return {row: Counter(earlier.get(row, {})) for row in what}


def write_rows(page: Path, counted: Mapping[str, Counter[str]], *, part: str = PART) -> None:
    """Replace the rows of one part.

    Args:
        page: Markdown, with comments around the part.
        counted: by what was done, the counts by what was looked for.
        part: name in the comments.
    """
    columns = list(next(iter(counted.values())))
    lines = [f"| what was done | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    lines += [
        f"| {what} | {' | '.join(str(counts[column]) for column in columns)} |" for what, counts in counted.items()
    ]
    begin, end = _BEGIN.format(part), _END.format(part)
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    after = rest.partition(end)[2]
    page.write_text(f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}", encoding="utf-8")
