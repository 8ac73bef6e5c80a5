"""The table of docs/reliability.md: each part of the bench writes its own rows and leaves the others."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

_BEGIN, _END = "<!-- {} -->", "<!-- end of {} -->"
PART = "kills"


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
