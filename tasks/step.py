"""The decorator of steps: a Prefect task that is timed, limited, logged, and recorded in the attempt under way."""

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.core.provenance.attempts import Attempt

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("assay")
if log.level == logging.NOTSET:  # else the root's WARNING would hide from Prefect what the steps say
    log.setLevel(logging.INFO)

_under_way: ContextVar[tuple[Attempt, ExitStack] | None] = ContextVar("under_way", default=None)


@contextlib.contextmanager
def under_way(attempt: Attempt) -> Iterator[None]:
    """Within this context steps add to the attempt what they give, and hold until its end what they need."""
    with ExitStack() as held:
        token = _under_way.set((attempt, held))
        try:
            yield
        finally:
            _under_way.reset(token)


def step(
    *,
    seconds: float,
    name: str = "",
    says: Callable[[Any], str],
    keeps: Callable[[Any], Mapping[str, Any]] = lambda _: {},
    holds: Callable[..., AbstractContextManager[None]] | None = None,
    **options: Any,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a step of a function: log records carry `step` and, at the end, `seconds`, for displays to use.

    Args:
        seconds: after which it is given up.
        name: what it is called; empty: as the function.
        says: one line about what it gave, for a reader.
        keeps: of what it gave, the records to keep, by field of `Attempt`.
        holds: a context, made of its arguments, that is entered before it and left when the attempt ends.
        options: further ones of `prefect.task`.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        called = name or function.__name__
        fixed: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "timeout_seconds": seconds}
        prefect_task = task(name=called, **fixed, **options)(function)

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            attempt, held = _under_way.get() or (None, None)
            title = f"{called}-{attempt.title}" if attempt else called
            log.debug("%s …", called, extra={"step": called})
            started = time.perf_counter()
            if holds is not None and held is not None:
                held.enter_context(holds(*args, **kwargs))
            given: T = prefect_task.with_options(task_run_name=title)(*args, **kwargs)
            taken = round(time.perf_counter() - started, 3)
            if attempt is not None:
                attempt.keep(called, taken, keeps(given))
            log.info("%s: %s", called, says(given), extra={"step": called, "seconds": taken})
            return given

        return run

    return decorate
