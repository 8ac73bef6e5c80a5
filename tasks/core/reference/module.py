"""A built module under proof: the network, what it was made from, and what it answers."""

import gc
from dataclasses import dataclass, field

from torch import nn

from tasks.core.inputs.inputs import Inputs
from tasks.core.records.steps import LoadReport, Manifest, Weights
from tasks.core.reference.reference import Reference
from tasks.core.spec.export_spec import ResolvedSpec


@dataclass(frozen=True, eq=False)
class BuiltModule:
    """A network with its weights in eval mode, and the records of how it was made."""

    spec: ResolvedSpec
    weights: Weights
    report: LoadReport
    manifest: Manifest
    _networks: list[nn.Module]
    """One, until it is released."""
    _references: list[Reference] = field(default_factory=list, init=False, repr=False)

    @property
    def network(self) -> nn.Module:
        """The network itself."""
        return self._networks[0]

    def reference(self, inputs: Inputs) -> Reference:
        """What the network answers on these inputs: one object, so that each answer is computed once."""
        if all(reference.inputs is not inputs for reference in self._references):
            self._references.append(Reference(self.network, inputs))
        return next(reference for reference in self._references if reference.inputs is inputs)

    def release(self) -> None:
        """Let the network and its answers go, whoever keeps this record: ONNX Runtime loads the weights once more."""
        self._networks.clear()
        self._references.clear()
        gc.collect()
