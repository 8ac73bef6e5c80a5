"""How a registered version is named: `digits/3`, `digits@champion`, with `models:/` before it or without."""

import re
from typing import Self

from tasks.core.errors import SpecError
from tasks.core.records.record import Record
from tasks.core.syntax import VERSION_SYNTAX

_VERSION = re.compile(r"(?:models:/+)?(?P<name>[^/@:]+)(?:/(?P<version>[0-9]{1,18})|@(?P<alias>[^/@:]+))")


class VersionName(Record):
    """A version of a registered model, by its number or by an alias."""

    name: str
    """Of the registered model."""
    version: str = ""
    alias: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `NAME/3`, `NAME@champion` or `models:/NAME/3`; a SpecError if it is none."""
        match = _VERSION.fullmatch(text)
        if match is None:
            raise SpecError(f"{text!r} names no registered version; write {VERSION_SYNTAX}.")
        version = str(int(match["version"])) if match["version"] else ""
        return cls(name=match["name"], version=version, alias=match["alias"] or "")
