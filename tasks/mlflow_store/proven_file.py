"""How a file is logged as a model of MLflow: its very bytes, with what MLflow needs to load them."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

from tasks.core.provenance.manifest import package_versions
from tasks.core.records.steps import Graph, TensorType


@dataclass(frozen=True)
class ProvenFile:
    """An MLflow flavor that logs the very bytes of a file, by hard link, without loading them."""

    graph: Graph
    __name__ = "mlflow.onnx"

    def save_model(self, path: str, mlflow_model: Model, **_: Any) -> None:
        """Write the folder of a model that MLflow then logs.

        Args:
            path: of the folder, which does not exist yet.
            mlflow_model: gets its flavors and signature.
            _: what MLflow gives besides.
        """
        import mlflow.pyfunc
        import yaml
        from mlflow.utils.environment import _PythonEnv

        folder = Path(path)
        folder.mkdir(parents=True)
        for source in filter(None, (self.graph.path, self.graph.sidecar)):
            try:
                os.link(source, folder / source.name)
            except OSError:  # another file system
                shutil.copyfile(source, folder / source.name)
        versions = package_versions()
        requirements = [f"mlflow=={mlflow.__version__}"]
        requirements += [f"{name}=={versions[name]}" for name in ("onnx", "onnxruntime", "numpy")]
        (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
        (folder / "python_env.yaml").write_text(yaml.safe_dump(_PythonEnv.current().to_dict(), sort_keys=False))
        mlflow.pyfunc.add_to_model(
            mlflow_model, loader_module="mlflow.onnx", data=self.graph.path.name, python_env="python_env.yaml"
        )
        mlflow_model.add_flavor(
            "onnx", onnx_version=versions["onnx"], data=self.graph.path.name, onnx_session_options=None,
            providers=["CUDAExecutionProvider", "CPUExecutionProvider"],
        )  # fmt: skip
        mlflow_model.signature = ModelSignature(_schema(self.graph.inputs), _schema(self.graph.outputs))
        mlflow_model.model_size_bytes = self.graph.size_bytes
        mlflow_model.save(str(folder / "MLmodel"))


def _schema(types: tuple[TensorType, ...]) -> Schema:
    """Names, dtypes and dims as MLflow writes them."""
    return Schema(
        [TensorSpec(np.dtype(t.dtype), tuple(d if isinstance(d, int) else -1 for d in t.dims), t.name) for t in types]
    )
