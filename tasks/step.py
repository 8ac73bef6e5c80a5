"""The decorator of steps: Prefect tasks that are timed, limited, logged, and recorded in the attempt under way."""

import functools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import httpx
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import SettingsContext
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from tasks.core.provenance.attempts import Attempt
from tasks.core.provenance.signatures import check_keys
from tasks.mlflow_store.runs import log_failure
from tasks.mlflow_store.stale import clean_up
from tasks.mlflow_store.store import check_artifact_store

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger("assay")
if log.level == logging.NOTSET:  # else the root's WARNING would hide from Prefect what the steps say
    log.setLevel(logging.INFO)

_SILENT_SECONDS = 60.0
"""After a failure of Prefect's server, for which it is not asked again to show something."""
_failed_at = -_SILENT_SECONDS
_expects: ContextVar[bool] = ContextVar("expects")
_under_way: ContextVar[tuple[Attempt, ExitStack] | None] = ContextVar("under_way", default=None)


@contextmanager
def recorded(attempt: Attempt) -> Iterator[Attempt]:
    """Within this context steps add to the attempt what they give, and hold until its end what they need.

    It leaves one run in MLflow: `log_export` or `log_verification` makes it, else the error, interruption or time
    limit that ends the attempt does. A ServiceError before any step: the store can't take it; a SpecError: the keys for
    signatures are none.
    """
    clean_up()
    check_artifact_store()
    check_keys()
    try:
        with ExitStack() as held:
            token = _under_way.set((attempt, held))
            held.callback(_under_way.reset, token)
            yield attempt
    except BaseException as error:
        if getattr(error, "run_id", None) is None:
            log_failure(attempt, error)
        raise


def step(
    *,
    seconds: float,
    says: Callable[[Any], str],
    keeps: Callable[[Any], Mapping[str, Any]] = lambda _: {},
    holds: Callable[..., AbstractContextManager[None]] | None = None,
    **options: Any,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Make a step of a function: log records carry `step` and, at the end, `seconds`, for displays to use.

    Args:
        seconds: after which it is given up.
        says: one line about what it gave, for a reader.
        keeps: of what it gave, the records to keep, by field of `Attempt`.
        holds: a context, made of its arguments, that is entered before it and left when the attempt ends.
        options: further ones of `prefect.task`; `name` is the function's own unless it is among them.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        fixed: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False, "timeout_seconds": seconds}
        prefect_task = task(**fixed, **options)(function)
        name = prefect_task.name
        dashed = name.replace("_", "-")

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> T:
            attempt, held = _under_way.get() or (None, None)
            title = f"{dashed}-{attempt.title}" if attempt else dashed
            log.debug("%s …", name, extra={"step": name})
            started = time.perf_counter()
            if holds is not None and held is not None:
                held.enter_context(holds(*args, **kwargs))
            given: T = prefect_task.with_options(task_run_name=title)(*args, **kwargs)
            taken = round(time.perf_counter() - started, 3)
            if attempt is not None:
                attempt.seconds[name] = taken
                for field, record in keeps(given).items():
                    setattr(attempt, field, record)
            log.info("%s: %s", name, says(given), extra={"step": name, "seconds": taken})
            return given

        return run

    return decorate


@contextmanager
def expecting() -> Iterator[None]:
    """Within this context `expect_little` has an effect, which ends with it."""
    token = _expects.set(True)
    try:
        with temporary_settings():
            yield
    finally:
        _expects.reset(token)


def expect_little(num_retries: int) -> None:
    """From now on, do not wait long for a Prefect server that does not answer.

    Args:
        num_retries: how often it is asked once more.
    """
    before = SettingsContext.get()
    if before is not None and _expects.get(False):
        number = min(num_retries, PREFECT_CLIENT_MAX_RETRIES.value())
        settings = before.settings.copy_with_update(updates={PREFECT_CLIENT_MAX_RETRIES: number})
        SettingsContext(profile=before.profile, settings=settings).__enter__()  # left by `expecting`


def show(create: Callable[..., object], **what: Any) -> None:
    """Show something on Prefect's page of a run; a server that fails is no reason to lose the rest.

    Args:
        create: one of Prefect's functions for artifacts.
        what: it shows.
    """
    global _failed_at
    if time.monotonic() - _failed_at < _SILENT_SECONDS:
        return
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
            create(**what)
    except httpx.HTTPError as error:
        _failed_at = time.monotonic()
        expect_little(0)
        log.debug("Prefect's server did not take %s (%s)", what.get("key"), error)
