"""Where things lie: the project's folders and the cache."""

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
