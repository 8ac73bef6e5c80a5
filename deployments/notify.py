"""Let Prefect's server tell somebody when an export fails, its verdict turns, or `champion` moves.

    python deployments/notify.py URL

Applies automations.yaml, which lies beside this file; a second call replaces what the first one made.
"""

if __name__ == "__main__":  # before the imports below, which another Python may not have
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from flows.command_line.start import run

    raise SystemExit(run("notify"))

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from flows.command_line.encodings import writable_in_any_encoding
from tasks.core.errors import AssayError, SpecError

FILE = Path(__file__).with_name("automations.yaml")
BLOCK = "assay-news"
"""Name of the webhook block on the server."""


def main(arguments: list[str] | None = None) -> int:
    """Apply the automations; return the exit status."""
    for stream in (sys.stdout, sys.stderr):
        writable_in_any_encoding(stream)
    options = _parser().parse_args(arguments)
    try:
        if not options.url.startswith(("http://", "https://")):
            raise SpecError(f"{options.url} is no address; write https://host/path.")
        from deployments.serve import check_server

        check_server()
        names = apply_automations(options.url)
    except AssayError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    print(f"{', '.join(names)}: applied")
    return 0


def apply_automations(url: str) -> list[str]:
    """Make or replace the webhook block and every automation of the file, on the server that is configured.

    Args:
        url: is sent a POST with JSON: `event`, `text`, `model`, `verdict`, `reason`, `version`, `url`.

    Returns:
        The automations' names.
    """
    from prefect import get_client
    from prefect.blocks.webhook import Webhook
    from prefect.events.schemas.automations import AutomationCore
    from prefect.settings import PREFECT_UI_URL

    content_type: Any = {"Content-Type": "application/json"}
    block_id = Webhook(url=url, headers=content_type).save(BLOCK, overwrite=True)
    entries = yaml.safe_load(FILE.read_text(encoding="utf-8"))["automations"]
    with get_client(sync_client=True) as client:
        for entry in entries:
            for action in entry["actions"]:
                if action["type"] == "call-webhook":
                    action["block_document_id"] = block_id
                    action["payload"] = action["payload"].replace("UI_URL", PREFECT_UI_URL.value() or "")
            for known in client.read_automations_by_name(entry["name"]):
                client.delete_automation(known.id)
            client.create_automation(AutomationCore.model_validate(entry))
    return [entry["name"] for entry in entries]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python deployments/notify.py",
        description="Tell a webhook when an export fails, its verdict turns, or champion moves.",
        epilog="Exit status: 0 applied, 2 bad input, 3 no Prefect server.",
    )
    parser.add_argument("url", metavar="URL", help="of the webhook, e.g. of Slack or Mattermost; gets a POST with JSON")
    return parser
