"""`ExportSpec`: everything that decides what one export is."""

import contextlib
import enum
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)  # fmt: skip

from tasks.core.errors import SpecError
from tasks.core.families.registry import family_of
from tasks.core.records.record import Record
from tasks.core.sentences import without_secrets
from tasks.core.spec.catalog import read_catalog
from tasks.core.spec.input_spec import InputSpec, derived_dims
from tasks.core.spec.plain_values import checked_name, checked_values
from tasks.core.syntax import DEFAULT_OPSET, OPSETS


class _FormOfModel:
    """How forms ask for a model: the names of the catalog to choose from, or any other text."""

    def __get_pydantic_json_schema__(self, *_: Any) -> dict[str, Any]:
        names: list[str] = []
        with contextlib.suppress(SpecError):  # a wrong catalog is told when it is used
            names = list(read_catalog())
        choices = [{"type": "string", "title": "Entry of the catalog", "enum": names}] if names else []
        other = {"type": "string", "title": "Other model"}
        return {"title": "Model", "anyOf": [*choices, other], **({"default": names[0]} if names else {})}


def _is_known_opset(opset: int) -> int:
    if not OPSETS[0] <= opset <= OPSETS[1]:
        raise SpecError(f"Opset {opset} is outside {OPSETS[0]} to {OPSETS[1]}; the default is {DEFAULT_OPSET}.")
    return opset


def _is_model_name(name: str | None) -> str | None:
    if name is not None and (not name or re.search(r"[/:.%\"'`]", name)):
        raise SpecError(f"MLflow allows no / : . % or quote in the name {name!r}; give another with --name.")
    return None if name is None else checked_name(name, "The model's")


class ExportSpec(Record):
    """What to export: the model, its weights, its inputs, and how.

    Fields left empty are filled from `deployments/catalog.yaml` or from the model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    model: Annotated[Any, _FormOfModel()]
    """An entry of the catalog (`digits`), a torchvision name (`resnet18`), `hf:FOLDER`, `hf:ORG/NAME[@REVISION]`,
    `timm:NAME`, `package.module:Class` or `path/to/file.py:Class`; in Python also a live `nn.Module`."""
    name: Annotated[str | None, AfterValidator(_is_model_name)] = None
    """Registered model name; None: the model's own."""
    weights: Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}], "title": "Weights"})] = (
        None
    )
    """Enum member, file or folder, URL[#sha256=HEX], `runs:/`, `models:/`, each with `#LABEL` of one of several sets of
    weights in it; `random[:SEED]`, `as-built`, or a state_dict."""
    task: str | None = None
    """What a model of `hf:` is for, e.g. `text-classification`; None: as its config says."""
    trust_remote_code: bool = False
    """Run the Python code that comes with a model of `hf:`."""
    kwargs: dict[str, Any] = {}
    """Arguments of the factory."""
    forward_kwargs: dict[str, Any] = {}
    """Arguments of forward that are no tensors, by keyword, e.g. `{"use_cache": false}`."""
    inputs: tuple[Annotated[InputSpec, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "object"}]})], ...] = ()
    """E.g. `image=float32[batch,3,224,224]@0..1`, in the order of forward or by its keyword names; empty: as the
    catalog or the model's family has them."""
    input_names: tuple[str, ...] = ()
    """Names in the file; those beyond the model's inputs label its parameters, in order."""
    outputs: tuple[str, ...] = ()
    """Outputs to keep, by the module's own names; or a new name for each, in the order of forward's structure."""
    ignore_missing: tuple[str, ...] = ()
    """Globs of keys that the weights may lack."""
    ignore_unexpected: tuple[str, ...] = ()
    """Globs of keys of the weights that the model may lack."""
    sample: Path | None = None
    """`.npz` of real inputs, arrays by input name."""
    opset: Annotated[
        int, AfterValidator(_is_known_opset), Field(json_schema_extra={"minimum": OPSETS[0], "maximum": OPSETS[1]})
    ] = DEFAULT_OPSET
    """Version of the ONNX operator set."""
    exporter: Literal["auto", "dynamo", "torchscript"] = "auto"
    """`auto` takes the next exporter where the first one gives a wrong file."""
    constant_outputs: tuple[str, ...] = ()
    """Outputs that are meant not to depend on the input."""
    static: dict[str, str] = {}
    """What of the inputs is not dynamic though a user might expect it, e.g. `batch`, and why, in one sentence."""

    @field_validator("model", "weights", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """A path or a member of torchvision's enums, as the text that names it."""
        if isinstance(value, enum.Enum):
            return f"{type(value).__name__}.{value.name}"
        return str(value) if isinstance(value, Path) else value

    @field_validator("weights")
    @classmethod
    def _are_weights(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, str | Mapping):
            raise SpecError(f"Weights are text or a state_dict, not {type(value).__name__}; give model.state_dict().")
        return value

    @field_validator("kwargs", "forward_kwargs", "static")
    @classmethod
    def _are_bounded(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        checked_values(value, f"The {info.field_name}")
        for name in value:
            checked_name(name, f"In {info.field_name} the")
        return value

    @field_validator("inputs", mode="before")
    @classmethod
    def _parse_inputs(cls, value: Any) -> Any:
        items = (value,) if isinstance(value, str) else value
        if not isinstance(items, list | tuple):
            return items
        return tuple(InputSpec.parse(item) if isinstance(item, str) else item for item in items)

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
        inputs = tuple(item.name for item in self.inputs)
        for kind, names in {"input": inputs, "input name": self.input_names, "output": self.outputs}.items():
            for name in names:
                checked_name(name, f"The {kind}'s")
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise SpecError(f"The {kind} {twice[0]!r} is declared twice; each needs a name of its own.")
        derived_dims(self.inputs)  # refuses what can't be
        return self

    @field_serializer("model", "weights")
    def _live_objects_by_type(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value and without_secrets(value)  # Prefect keeps a flow's parameters, MLflow the record
        return f"<live {type(value).__module__}.{type(value).__qualname__}>"

    @property
    def title(self) -> str:
        """The registered model name; before the spec is resolved the last word of the model, without folders."""
        last = re.split("[/:]", self.model)[-1] if isinstance(self.model, str) else ""
        return self.name or last or type(self.model).__name__

    def canonical_json(self) -> str:
        """What decides the file, as one line: equal content, equal text. No file's place, no secrets, no sentences."""
        fields = self.model_dump(
            mode="json", exclude={"sample", "static"}, fallback=lambda value: re.sub(" at 0x[0-9a-f]+", "", repr(value))
        )
        fields["inputs"] = [str(item) for item in self.inputs]
        if isinstance(self.model, str):
            with contextlib.suppress(LookupError):
                fields["model"] = family_of(self.model).text_of(self.model)
        for field in ("weights",) if isinstance(self.model, str) else ("model", "weights"):
            value = str(fields[field])
            if value.startswith(("http://", "https://")):
                parts = urlsplit(value)
                fields[field] = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))
            elif ":/" not in value:
                fields[field] = value.rsplit("/", 1)[-1]
        return json.dumps(fields, sort_keys=True)


class ResolvedSpec(ExportSpec):
    """A spec with nothing left to fill, as `resolve` makes it: paths are absolute, a family's recipe is applied."""

    name: Annotated[str, AfterValidator(_is_model_name)]
    """Registered model name."""
    weights: Any
    """As in ExportSpec, and never None."""

    @field_validator("weights")
    @classmethod
    def _are_settled(cls, value: Any) -> Any:
        if value is None:
            raise SpecError("A resolved spec says its weights; make it with resolve().")
        return value
