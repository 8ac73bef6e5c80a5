"""Markup in names, keys and error texts is text on every page; secrets of addresses and the environment are nowhere."""

import sqlite3
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
import torch
from markdown_it import MarkdownIt

from flows.command_line.export import main
from tests.flows.in_process import Ran
from tests.services.weights_server import WeightsServer

MARKUP = "<img src=x onerror=alert(1)><script>alert(2)<!script>[go](javascript~alert(3)) *b* ~~s~~ | #"
MODEL = """
import torch
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = torch.nn.ModuleDict({MARKUP: torch.nn.Linear(4, 2)})
    def forward(self, x):
        return {MARKUP: self.inner[MARKUP](x), "sum": x.sum(-1)}
def broken():
    raise ValueError(MARKUP + " http://me:s3cret@host/x?key=t0ken")
"""
SECRETS = ("s3cret", "t0ken", "hunter2", "pr0xy", "h0rse")
NAME = "<b onclick=x>[a](b) _c_"


class _Elements(HTMLParser):
    """Names of all elements of a page that somebody's markup could have made."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what runs, loads or was written by the model's author."""
        links = [value or "" for name, value in attrs if name in ("href", "xlink:href", "src", "action", "formaction")]
        handlers = [name for name, _ in attrs if name.startswith("on")]
        handlers += [link for link in links if "javascript" in link]
        if tag in ("img", "iframe", "object", "script") or handlers:
            self.wrong.append(f"{tag} {attrs}")


@pytest.fixture(scope="module")
def exported(store: str, prefect_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the model; the environment is full of secrets."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "net.py").write_text(f"MARKUP = {MARKUP!r}\n{MODEL}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_TOKEN", "hunter2")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", "h0rse")
        patch.setenv("https_proxy", "http://me:pr0xy@127.0.0.1:9")
        yield folder


def _stored(store: str, prefect_server: str) -> dict[str, str]:
    """All texts that MLflow's database and artifacts and Prefect's server hold, by place."""
    folder = Path(store.removeprefix("sqlite:///")).parent
    files = [path for path in folder.rglob("*") if path.is_file()]
    found = {str(path.relative_to(folder)): path.read_bytes().decode("latin1") for path in files}
    for kind in ("flow_runs", "task_runs", "artifacts", "logs"):
        body: dict[str, Any] = {"limit": 200}
        found[f"prefect {kind}"] = httpx.post(f"{prefect_server}/{kind}/filter", json=body).raise_for_status().text
    return found


def _markdown(store: str, prefect_server: str) -> dict[str, str]:
    """All texts that MLflow and Prefect show as Markdown, by place."""
    database = sqlite3.connect(store.removeprefix("sqlite:///"))
    found: dict[str, str] = {}
    for table in ("tags", "logged_model_tags", "experiment_tags"):
        column = {"tags": "key, value", "logged_model_tags": "tag_key, tag_value", "experiment_tags": "key, value"}[
            table
        ]
        for index, (key, value) in enumerate(database.execute(f"select {column} from {table}")):
            if key == "mlflow.note.content":
                found[f"{table} {index}"] = value
    for table in ("registered_models", "model_versions"):
        rows = database.execute(f"select description from {table} where description is not null")
        found |= {f"{table} {index}": text for index, (text,) in enumerate(rows)}
    database.close()
    for item in httpx.post(f"{prefect_server}/artifacts/filter", json={}).raise_for_status().json():
        found[f"artifact {item['id']}"] = item["description"] or ""
        if item["type"] == "markdown":
            found[f"artifact {item['key']}"] = item["data"]
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("caches")
def test_markup_is_inert_and_secrets_are_nowhere(
    exported: Path,
    store: str,
    prefect_server: str,
    call: Callable[..., Ran],
    weights_server: WeightsServer,
    caches: Path,
) -> None:
    """An export that passes, one whose code raises and one whose weights do not fit: all that is stored and printed."""
    net = torch.nn.ModuleDict({"inner": torch.nn.ModuleDict({MARKUP.replace(".", ""): torch.nn.Linear(4, 2)})})
    torch.save(net.state_dict(), exported / "w.pth")
    torch.save({MARKUP: torch.zeros(1)}, exported / "wrong.pth")
    address = weights_server.put("/w.pth", (exported / "w.pth").read_bytes()).replace("//", "//me:s3cret@")
    common = ("--name", NAME, "--input", "x=float32[batch,4]")
    ran = [
        call(
            main, f"{exported}/net.py:Net", "--weights", f"{address}?key=t0ken", *common, "-o", "out.onnx", cwd=exported
        ),
        call(main, f"{exported}/net.py:broken", "--weights", "as-built", *common, cwd=exported),
        call(main, f"{exported}/net.py:Net", "--weights", "wrong.pth", *common, cwd=exported),
        call(main, f"{exported}/net.py:Net", "--weights", f"{address}x?key=t0ken", *common, cwd=exported),
    ]
    assert [one.status for one in ran] == [0, 2, 2, 2]
    texts = _stored(store, prefect_server) | {f"printed {i}": one.out + one.err for i, one in enumerate(ran)}
    texts["file"] = (exported / "out.onnx").read_bytes().decode("latin1")
    texts["json"] = (exported / "out.json").read_text()
    assert [(place, secret) for place, text in texts.items() for secret in SECRETS if secret in text] == []
    pages = {place: text for place, text in texts.items() if place.endswith((".html", ".svg"))}
    assert len(pages) >= 2
    shown = _markdown(store, prefect_server)
    assert len(shown) >= 8
    assert any("onerror" in text for text in shown.values()), "the names are there"
    pages |= {place: MarkdownIt("gfm-like", {"linkify": False}).render(text) for place, text in shown.items()}
    assert {place: wrong for place, page in pages.items() if (wrong := _Elements(page).wrong)} == {}
    for one in mlflow.MlflowClient(store).search_registered_models():
        assert one.name == NAME
