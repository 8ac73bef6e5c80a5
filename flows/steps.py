"""Time the steps of a flow, and say what each did."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator

log = logging.getLogger("assay")
if log.level == logging.NOTSET:  # else the root's WARNING would hide from Prefect what the steps say
    log.setLevel(logging.INFO)


class Steps:
    """Called as `with step(NAME) as say`: logs the start and, with what was said, the end.

    The records carry `step` and, at the end, `seconds`, for displays to use.
    """

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[Callable[[str], None]]:
        """Run one step."""
        said: list[str] = []
        log.debug("%s …", name, extra={"step": name})
        started = time.perf_counter()
        yield said.append
        self._seconds[name] = round(time.perf_counter() - started, 3)
        log.info("%s: %s", name, "; ".join(said), extra={"step": name, "seconds": self._seconds[name]})
