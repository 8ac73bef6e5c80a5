"""Run a module at further sizes, as long as that is affordable."""

import math
import time
from collections.abc import Callable

from tasks.core.errors import OutOfMemoryError
from tasks.core.inputs.breaking_sizes import Case
from tasks.core.inputs.probes import all_sizes, batch_name, dynamic_dims
from tasks.core.inputs.sizes import traced_sizes
from tasks.core.limits import LARGEST_SIZE, MAX_RUN_ELEMENTS, MAX_RUN_SECONDS
from tasks.core.spec.input_spec import InputSpec


class Runs:
    """Runs of one module, each estimated by the largest one before it."""

    def __init__(self, specs: tuple[InputSpec, ...], refusal: Callable[[Case], str]) -> None:
        """Take the inputs, and what runs the module and says what it raises; empty: nothing."""
        self._specs, self._refusal = specs, refusal
        self.dims, self.batch, self.traced = dynamic_dims(specs), batch_name(specs), traced_sizes(specs)
        self._largest = 0, 0.0
        """Elements and seconds of the largest run so far."""

    def takes(self, case: Case) -> bool:
        """Is a run affordable, and does the module take the sizes?"""
        return self.is_affordable(case) and self._run(case)

    def is_affordable(self, case: Case) -> bool:
        """Is a run likely to take neither too long nor too much memory?"""
        return self.num_elements(case) <= MAX_RUN_ELEMENTS and self.seconds_of(case) <= MAX_RUN_SECONDS

    def is_allowed(self, name: str, size: int) -> bool:
        """Is a size within the bounds of its dimension?

        Args:
            name: of the dimension.
            size: of it.
        """
        dim = self.dims[name]
        return max(dim.low, 1) <= size <= (LARGEST_SIZE if dim.high is None else dim.high)

    def seconds_of(self, case: Case) -> float:
        """Estimated, of the processor."""
        if not self._largest[0]:
            self._run(self.traced)
        size, seconds = self._largest
        return seconds * max(1.0, self.num_elements(case) / max(size, 1))

    def num_elements(self, case: Case) -> int:
        """Over all inputs."""
        sizes = all_sizes(self._specs, case)
        return sum(math.prod(sizes[d.name] if d.name else d.size or 1 for d in spec.dims) for spec in self._specs)

    def _run(self, case: Case) -> bool:
        started, size = time.process_time(), self.num_elements(case)
        try:
            if self._refusal(case):
                return False
        except OutOfMemoryError:
            return False
        if size >= self._largest[0]:
            self._largest = size, time.process_time() - started
        return True
