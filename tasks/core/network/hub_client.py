"""How the hub's own library asks: where, with what patience, and never led from the internet into this network."""

import functools
import io
import os
from typing import Any
from urllib.parse import urlsplit

from tasks.core.errors import SpecError
from tasks.core.network.redirects import RedirectRule
from tasks.core.progress import Progress
from tasks.core.sentences import without_secrets

PATIENCE_SECONDS = 8.0
"""For a connection, and for each answer that says something of a repository."""
_STALLED_SECONDS = 30.0
"""For the next bytes of a file, where the library itself would wait for ever."""


def endpoint() -> str:
    """Address of the hub: `HF_ENDPOINT`, else `ASSAY_WEIGHTS_MIRROR`, else Hugging Face's own; a SpecError if none."""
    from huggingface_hub import constants

    for variable in ("HF_ENDPOINT", "ASSAY_WEIGHTS_MIRROR"):
        if address := os.environ.get(variable, "").rstrip("/"):
            parts = urlsplit(address)
            if parts.scheme not in ("http", "https") or not parts.netloc:
                shown = without_secrets(address)
                raise SpecError(f"{variable}={shown} is no address; write https://host[/path].")
            return address
    return str(constants.ENDPOINT)


def shown_endpoint() -> str:
    """The hub's address for a sentence, without user and password."""
    return without_secrets(endpoint())


@functools.cache
def prepare_client() -> None:
    """Have the hub's library ask as downloads here do, and keep its bars and warnings to itself."""
    import huggingface_hub
    from huggingface_hub import constants
    from huggingface_hub.utils import disable_progress_bars
    from huggingface_hub.utils._http import default_client_factory

    def client() -> Any:
        made = default_client_factory()
        made.event_hooks["request"].extend((_look_where, _bound))
        return made

    constants.HF_HUB_DISABLE_TELEMETRY = True  # it goes to Hugging Face's own address, whatever the hub is
    huggingface_hub.set_client_factory(client)
    huggingface_hub.logging.set_verbosity_error()
    disable_progress_bars()


@functools.cache
def progress_bar() -> type:
    """A class of bars for the library, which tell how far a download is as other long steps do."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        """Counts the bytes that were written; of the library's other bars nothing is shown."""

        def __init__(self, *args: Any, **options: Any) -> None:
            self._progress = Progress("{done:.0f} MB fetched", 0.0)
            self._counts = str(options.get("desc")).startswith("Reconstructing")
            super().__init__(*args, **{**options, "file": io.StringIO()})

        def update(self, n: float | None = 1) -> bool | None:
            """Count bytes; what a repeated download loses comes back as a negative number."""
            if self._counts and n:
                self._progress.advance(n / 1e6)
            return bool(super().update(n))

        def display(self, *_: Any, **__: Any) -> bool:
            """Show nothing."""
            return True

    return Bar


def _look_where(request: Any) -> None:
    """A RedirectRule for whatever the hub is when the request is made."""
    RedirectRule(endpoint())(request)


def _bound(request: Any) -> None:
    """Give up at some time where the library would not."""
    asked = request.extensions.get("timeout") or {}
    limits = {
        "connect": PATIENCE_SECONDS,
        "pool": PATIENCE_SECONDS,
        "read": _STALLED_SECONDS,
        "write": _STALLED_SECONDS,
    }
    request.extensions["timeout"] = {name: asked.get(name) or limit for name, limit in limits.items()}
