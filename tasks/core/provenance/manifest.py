"""The manifest: everything that decides an exported file, so that a change can be seen and named."""

import functools
import hashlib
import json
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tasks.core.families.registry import FAMILIES
from tasks.core.hashes import file_sha256
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.records.manifest import Manifest
from tasks.core.records.steps import LoadReport, Weights
from tasks.core.spec.export_spec import ResolvedSpec
from tasks.core.weights.sources import source_of

PACKAGES = (
    "torch", *(package for family in FAMILIES for package in family.packages),
    "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy",
)  # fmt: skip
"""The packages that shape the file or its proof."""
_UNDECIDING = ("errors.py", "provenance", "records", "reports")
"""Files and rooms of `tasks/core` whose code decides neither a file nor its proof."""


def make_manifest(spec: ResolvedSpec, weights: Weights, report: LoadReport) -> Manifest:
    """Make the manifest of an export.

    Args:
        spec: what was asked for.
        weights: with the hash of their tensors, where a file holds them.
        report: of the built module, with the hash of its state and of the source files it came from.
    """
    return Manifest(
        spec=spec.canonical_json(),
        weights=weights.tensors_sha256 or report.state_sha256 or "",
        weights_file=weights.file_sha256,
        sample=file_sha256(spec.sample) if spec.sample else None,
        sources=report.source_files,
        assay=assay_sha256(),
        versions=package_versions(),
    )


def changes_without_weights(before: Manifest, spec: ResolvedSpec) -> tuple[str, ...]:
    """Entries that differ now, the weights left aside; needs neither torch nor a network.

    Args:
        before: of the champion.
        spec: what is asked for now.
    """
    sources = {path: _sha256_or_absent(PROJECT_FOLDER / path) for path in before.sources}
    now = before.model_copy(
        update={
            "spec": spec.canonical_json(),
            "sample": _sha256_or_absent(spec.sample) if spec.sample else None,
            "sources": sources,
            "assay": assay_sha256(),
            "versions": package_versions(),
        }
    )
    return differences(before, now)


def same_weights(before: Manifest, spec: ResolvedSpec) -> bool:
    """Are the weights the same beyond doubt, without reading tensors or touching a network?

    What only a server or the model's own code knows has to be fetched and hashed.

    Args:
        before: of the champion.
        spec: what is asked for now.
    """
    return source_of(spec).is_same(before.weights_file)


def differences(before: Manifest, now: Manifest) -> tuple[str, ...]:
    """Name the entries in which two manifests differ, in words for a reader.

    Args:
        before: of the champion.
        now: of the module that was built.
    """
    found = []
    old, new = json.loads(before.spec), json.loads(now.spec)
    found += [f"spec.{key}" for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    found += ["weights"] if before.weights != now.weights else []
    found += ["sample"] if before.sample != now.sample else []
    for path in sorted(before.sources.keys() | now.sources.keys()):
        if before.sources.get(path) != now.sources.get(path):
            found.append(f"source {Path(path).name}")
    found += ["Assay's code"] if before.assay != now.assay else []
    for package in sorted(before.versions.keys() | now.versions.keys()):
        a, b = before.versions.get(package, "absent"), now.versions.get(package, "absent")
        found += [f"{package} {a} -> {b}"] if a != b else []
    return tuple(found)


@functools.cache
def assay_sha256() -> str:
    """Hash of the code that makes and proves the files; a comment in a report makes no new versions."""
    core = PROJECT_FOLDER / "tasks" / "core"
    digest = hashlib.sha256()
    for path in sorted(core.rglob("*.py")):
        if path.relative_to(core).parts[0] not in _UNDECIDING:
            digest.update(f"{path.relative_to(core)}:{file_sha256(path)};".encode())
    return digest.hexdigest()


@functools.cache
def package_versions() -> dict[str, str]:
    """Installed versions of the packages that shape the file."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _sha256_or_absent(path: Path) -> str:
    return file_sha256(path) if path.is_file() else "absent"
