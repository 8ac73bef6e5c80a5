"""The MLflow flavor of a proven file: its very bytes, by hard link."""

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
    signature: ModelSignature
    __name__ = "mlflow.onnx"

    def save_model(self, path: str, mlflow_model: Model, **_: Any) -> None:
        """Write the model folder that MLflow then logs.

        Args:
            path: of the folder, which does not exist yet.
            mlflow_model: gets the flavors and the signature.
            _: options that MLflow passes to every flavor.
        """
        import mlflow.pyfunc
        import yaml
        from mlflow.utils.environment import _PythonEnv

        folder = Path(path)
        folder.mkdir(parents=True)
        for source in filter(None, (self.graph.path, self.graph.sidecar)):
            _link(source, folder / source.name)
        versions = package_versions()
        requirements = [f"mlflow=={mlflow.__version__}"]
        requirements += [f"{name}=={versions[name]}" for name in ("onnx", "onnxruntime", "numpy")]
        (folder / "requirements.txt").write_text("\n".join(requirements) + "\n")
        (folder / "python_env.yaml").write_text(yaml.safe_dump(_PythonEnv.current().to_dict(), sort_keys=False))
        mlflow.pyfunc.add_to_model(
            mlflow_model, loader_module="mlflow.onnx", data=self.graph.path.name, python_env="python_env.yaml"
        )
        mlflow_model.add_flavor(
            "onnx",
            onnx_version=versions["onnx"],
            data=self.graph.path.name,
            providers=["CUDAExecutionProvider", "CPUExecutionProvider"],
            onnx_session_options=None,
        )
        mlflow_model.signature = self.signature
        mlflow_model.model_size_bytes = self.graph.size_bytes
        mlflow_model.save(str(folder / "MLmodel"))


def signature_of(graph: Graph) -> ModelSignature:
    """Names, dtypes and dims of a file's inputs and outputs as MLflow writes them."""
    return ModelSignature(inputs=_schema(graph.inputs), outputs=_schema(graph.outputs))


def _schema(types: tuple[TensorType, ...]) -> Schema:
    return Schema(
        [TensorSpec(np.dtype(t.dtype), tuple(d if isinstance(d, int) else -1 for d in t.dims), t.name) for t in types]
    )


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)
