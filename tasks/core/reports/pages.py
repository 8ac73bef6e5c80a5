"""Self-contained HTML pages, rendered from the templates in this folder."""

from pathlib import Path
from typing import Any

import jinja2
from rich.filesize import decimal

from tasks.core.reports.numbers import bar_width, number, percent


def render(template: str, **values: Any) -> str:
    """Render a page.

    Args:
        template: its file name in `templates/`.
        values: what the template refers to; a missing one is an error.
    """
    return _ENVIRONMENT.get_template(template).render(**values)


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,  # names in the file are its author's
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"number": number, "percent": percent, "bytes": decimal, "bar": bar_width}
