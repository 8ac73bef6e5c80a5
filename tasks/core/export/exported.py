"""What an exporter gives, and the refusal that tells of sizes."""

from dataclasses import dataclass

import onnx_ir as ir

from tasks.core.errors import ExportError


@dataclass(frozen=True)
class Exported:
    """The graph that an exporter made."""

    graph: ir.Model
    notes: tuple[str, ...] = ()
    """What a reader of the result should know."""
    doubts: tuple[str, ...] = ()
    """Reasons for which no probe can prove the graph."""


class NarrowedError(ExportError):
    """torch.export found that a dynamic dimension may not have every size that was asked for."""

    def __init__(self, message: str, name: str, beyond: tuple[int, ...]) -> None:
        super().__init__(message)
        self.name = name
        """Of the dimension."""
        self.beyond = beyond
        """The sizes next to the allowed ones, where another exporter's file must be right, too."""
