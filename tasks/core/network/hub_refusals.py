"""What the hub's library raises, as one sentence that says what to do. Names no token."""

from tasks.core.errors import AssayError, ServiceError, SpecError, WeightsError, one_line
from tasks.core.network.hub_client import shown_endpoint

TO_CACHE = "HF_HUB_OFFLINE=1 takes what the cache has"


def refusal(error: BaseException, repo: str, revision: str) -> AssayError:
    """The sentence about an error.

    Args:
        error: as huggingface_hub or its HTTP client raised it.
        repo: ORG/NAME.
        revision: branch, tag or commit.
    """
    import httpx2
    from huggingface_hub import errors, get_token

    host = shown_endpoint()
    while isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    has_token = get_token() is not None
    token = "a token that may read it" if has_token else "a token"
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 0
    match error:
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError():
            return not_cached(repo, revision)
        case errors.RevisionNotFoundError():
            return SpecError(f"{repo} has no revision {revision!r} at {host}; name a branch, a tag or a commit.")
        case errors.GatedRepoError():
            return SpecError(
                f"{repo} is gated at {host}: accept its terms there, and set HF_TOKEN to a token of that account."
            )
        case errors.HfHubHTTPError() if status >= 500 or status == 429:
            return ServiceError(f"{host} answered with status {status} for {repo}; try again later, or {TO_CACHE}.")
        case errors.RepositoryNotFoundError():
            return SpecError(
                f"{host} has no model {repo}, or shows it to some only ({status}): check the name, "
                f"or set HF_TOKEN to {token}; a folder is written as a path, ./{repo}."
            )
        case errors.HfHubHTTPError() if status in (401, 403):
            said = "refuses the token that is set" if has_token else "asks for a token"
            return SpecError(f"{host} {said} ({status}) for {repo}; set HF_TOKEN to {token}.")
        case errors.HfHubHTTPError():
            return SpecError(f"{host} answered with status {status} for {repo} at {revision}; check the name.")
        case errors.HFValidationError():
            return SpecError(f"{repo} is no name of a model: {one_line(error)}.")
        case httpx2.HTTPError() | httpx2.InvalidURL():
            what = one_line(error) or type(error).__name__
            return ServiceError(
                f"{host} could not be reached for {repo} ({what}); check the network, HF_ENDPOINT and "
                f"ASSAY_WEIGHTS_MIRROR, or {TO_CACHE}."
            )
        case OSError() if error.errno is not None:
            return WeightsError(
                f"The cache of the hub can't be written ({one_line(error)}); set HF_HUB_CACHE or HF_HOME."
            )
        case OSError():
            return ServiceError(f"{host} broke off while it sent {repo} ({one_line(error)}); try again.")
        case _:
            return ServiceError(f"{host} does not answer as a hub does ({one_line(error)}); check HF_ENDPOINT.")


def not_cached(repo: str, revision: str, files: str = "") -> ServiceError:
    """The sentence about what is not in the cache, while nobody may be asked.

    Args:
        repo: ORG/NAME.
        revision: branch, tag or commit.
        files: what is missing; empty: all of it.
    """
    from huggingface_hub import constants

    what = f"{files} of {repo}" if files else repo
    return ServiceError(
        f"{what} at {revision} is not in the cache {constants.HF_HUB_CACHE}, and HF_HUB_OFFLINE is set; "
        f"fetch it once without."
    )
