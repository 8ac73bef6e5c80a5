"""Where things lie: the project's folders and the cache."""

import difflib
import os
from pathlib import Path

PROJECT_FOLDER = Path(__file__).resolve().parents[2]
CATALOG_FILE = PROJECT_FOLDER / "deployments" / "catalog.yaml"
MLRUNS_FOLDER = PROJECT_FOLDER / "mlruns"
MLFLOW_DATABASE = PROJECT_FOLDER / "mlflow.db"


def cache_folder() -> Path:
    """Folder of downloaded weights, addressed by content: `ASSAY_CACHE`, else `~/.cache/assay`."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ASSAY_CACHE") or Path(base, "assay"))


def near_miss(path: Path) -> str:
    """How a sentence about a file that is not there ends: with the name in its folder that is close, or a full stop."""
    try:
        names = [found.name for found in path.parent.iterdir()]
    except OSError:
        names = []
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=0.75)
    return f"; did you mean {path.with_name(close[0])}?" if close else "."
