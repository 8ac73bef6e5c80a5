"""A platform engineer's view: Prefect's pages in a real browser, from the deployment's form to a run's artifacts.

`browser` stands before `server`: where there is no browser, Prefect's server need not start.
"""

from collections.abc import Callable, Iterator

import pytest

from deployments.serve import make_deployments
from tests.services.browser import Browser

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(start_service: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Prefect server with its pages, which this process uses, too."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("PREFECT_UI_API_URL", "/api")  # of the same address; it knows no other port than its default
        arguments = ("server", "start", "--host", "127.0.0.1", "--port", "{port}")
        address = start_service("prefect", *arguments, ready="/api/health")
        patch.setenv("PREFECT_API_URL", f"{address}/api")
        with temporary_settings({PREFECT_API_URL: f"{address}/api"}):
            yield address


@pytest.mark.usefixtures("own_store")
def test_an_export_is_started_followed_and_read_in_prefect(browser: Browser, server: str) -> None:
    """The form has the catalog's names and words; the run its model's name; its artifacts lead to MLflow."""
    from prefect import get_client
    from prefect.flow_engine import run_flow

    from flows.export import export_model

    (deployment,) = make_deployments(["digits"])
    deployment_id = deployment.apply()
    page = f"{server}/deployments/deployment/{deployment_id}"
    browser.see(page, "digits", picture="prefect-deployment.png")
    browser.see(f"{page}/run", "model", "digits", picture="prefect-form.png")

    with get_client(sync_client=True) as client:
        flow_run = client.create_flow_run_from_deployment(deployment_id)
        run_flow(export_model, flow_run=flow_run, parameters=flow_run.parameters)
        artifacts = {artifact.key: artifact.id for artifact in client.read_artifacts()}
    run = f"{server}/runs/flow-run/{flow_run.id}"
    browser.see(run, "export-digits", "Completed", picture="prefect-run.png")
    browser.see(f"{server}/artifacts", "parity", "mlflow-version", picture="prefect-artifacts.png")
    parity = f"{server}/artifacts/artifact/{artifacts['parity']}"
    browser.see(parity, "digits: ✔ pass", "logits", picture="prefect-parity.png")
    browser.darken()
    browser.see(parity, "digits: ✔ pass", picture="dark-prefect-parity.png")
    browser.see(run, "export-digits", "Completed", picture="dark-prefect-run.png")
    browser.see(f"{page}/run", "model", "digits", picture="dark-prefect-form.png")
