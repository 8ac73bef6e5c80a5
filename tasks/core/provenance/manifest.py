"""The manifest: everything that decides an exported file, so that a change can be seen and named."""

import functools
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.core.families.registry import family_of
from tasks.core.hashes import file_sha256
from tasks.core.paths import PROJECT_FOLDER
from tasks.core.records.comparison import Change, Kind
from tasks.core.records.steps import LoadReport, Manifest, Weights
from tasks.core.spec.export_spec import ResolvedSpec

PACKAGES = ("torch", "torchvision", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "numpy")
"""The packages that shape any file or its proof."""
_AT_COMMIT = re.compile(r"hf:(.+)@([0-9a-f]{40})")
_UNDECIDING = ("errors.py", "provenance", "records", "reports", "speed", "variants")
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
        versions=package_versions(spec),
    )


def changes_without_weights(before: Manifest, spec: ResolvedSpec) -> tuple[str, ...]:
    """Entries that differ now, the weights left aside; needs neither torch nor a network.

    Args:
        before: of the newest proven version.
        spec: what is asked for now.
    """
    now = {
        "spec": spec.canonical_json(),
        "sample": _sha256_or_absent(spec.sample) if spec.sample else None,
        "sources": {path: _sha256_or_absent(PROJECT_FOLDER / path) for path in before.sources},
        "assay": assay_sha256(),
        "versions": package_versions(spec),
    }
    return differences(before, before.model_copy(update=now))


def differences(before: Manifest, now: Manifest) -> tuple[str, ...]:
    """Name the entries in which two manifests differ, in words for a reader.

    Args:
        before: of the newest proven version.
        now: of the module that was built.
    """
    return tuple(change.name for change in changes(before, now))


def changes(before: Manifest, now: Manifest) -> tuple[Change, ...]:
    """The entries in which two manifests differ, with their values; of what is hashed, the beginning of the hash.

    Args:
        before: of the newest proven version.
        now: of the module that was built.
    """
    old_spec, new_spec = json.loads(before.spec), json.loads(now.spec)
    hashed: tuple[tuple[Kind, str, str | None, str | None], ...] = (
        ("weights", "weights", before.weights, now.weights),
        ("sample", "sample", before.sample, now.sample),
        *(("code", f"source {Path(path).name}", *values) for path, *values in _changes(before.sources, now.sources)),
        ("code", "Assay's code", before.assay, now.assay),
    )
    spec, versions = _changes(old_spec, new_spec, absent=None), _changes(before.versions, now.versions)
    found: list[tuple[Kind, str, str, str]] = [
        *(("spec", _spec_name(key, old, new), _text(old), _text(new)) for key, old, new in spec),
        *((kind, name, _short(old), _short(new)) for kind, name, old, new in hashed if old != new),
        *(("packages", f"{package} {old} -> {new}", old, new) for package, old, new in versions),
    ]
    return tuple(Change(kind=kind, name=name, before=old, now=new) for kind, name, old, new in found)


def _spec_name(key: str, old: Any, new: Any) -> str:
    """What an entry of the spec is called that has another value now; a model of the hub may be at another commit."""
    before, now = (_AT_COMMIT.fullmatch(str(value)) for value in (old, new))
    if key != "model" or before is None or now is None or before[1] != now[1]:
        return f"spec.{key}"
    return f"commit of {before[1]}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _short(sha256: str | None) -> str:
    return (sha256 or "none")[:12]


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], *, absent: Any = "absent") -> Iterator[tuple[Any, ...]]:
    """The keys whose values differ, with the value before and now."""
    for key in sorted(before.keys() | now.keys()):
        old, new = before.get(key, absent), now.get(key, absent)
        if old != new:
            yield key, old, new


@functools.cache
def assay_sha256() -> str:
    """Hash of the code that makes and proves the files; a comment in a report makes no new versions."""
    core = PROJECT_FOLDER / "tasks" / "core"
    digest = hashlib.sha256()
    for path in sorted(core.rglob("*.py")):
        if path.relative_to(core).parts[0] not in _UNDECIDING:
            digest.update(f"{path.relative_to(core)}:{file_sha256(path)};".encode())
    return digest.hexdigest()


def package_versions(spec: ResolvedSpec | None = None) -> dict[str, str]:
    """Installed versions of the packages that shape the file: any, or that of a spec."""
    own = family_of(spec.model).packages if spec else ()
    return {name: package_version(name) for name in dict.fromkeys((*PACKAGES, *own))}


@functools.cache
def package_version(name: str) -> str:
    """Installed version of a package, or `absent`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _sha256_or_absent(path: Path) -> str:
    return file_sha256(path) if path.is_file() else "absent"
