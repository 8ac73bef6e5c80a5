"""The verdict on a lossy variant, and what may be said of it."""

from collections.abc import Callable
from typing import Any

import onnx

from tasks.core.arrays import Array
from tasks.core.records.variants import Attempted, Loss, VariantEvidence
from tasks.core.variants.data import Batch, Data
from tasks.core.variants.loss import loss_of
from tasks.core.variants.making import Recipe
from tasks.core.variants.measuring import as_declared, precision_of, ranked
from tasks.core.variants.running import answers, relative_error

_NUM_FEW = 128
"""Samples on which all but the loss is measured."""
_MAX_KEPT = 12
"""Nodes that are kept in float32 for the budget's sake."""


class Judge:
    """Holds variants of one proven file against it, on one set of samples."""

    def __init__(self, source: onnx.ModelProto, evaluation: Data | None, samples: list[Batch]) -> None:
        """Run the proven file.

        Args:
            source: the proven file.
            evaluation: samples to measure the loss on; None: there are none.
            samples: of the calibration, to look at where there are no others.
        """
        self.source, self.evaluation = source, evaluation
        self._batches = list(evaluation) if evaluation else []
        looked_at = self._batches or samples
        self._few = _first(looked_at, _NUM_FEW)
        file = source.SerializeToString()
        self._wanted = list(answers(file, self._batches)) if self._batches else []
        self._wanted_few = list(answers(file, self._few)) if self._few else []

    @property
    def has_samples(self) -> bool:
        """Are there samples at all?"""
        return bool(self._few)

    def row(self) -> dict[str, Array]:
        """The first sample, as a batch of one."""
        return {name: array[:1] for name, array in self._few[0].arrays.items()}

    def loss(self, file: bytes, *, budget: float) -> Loss | None:
        """What a variant costs the task; None without samples.

        Args:
            file: the variant.
            budget: the loss that is allowed, as a share.
        """
        if not self._batches:
            return None
        return loss_of(self._batches, self._wanted, list(answers(file, self._batches)), budget=budget)

    def judge(self, file: bytes, recipe: Recipe, evidence: VariantEvidence) -> VariantEvidence:
        """Measure a lossy variant and say what may be said of it.

        Args:
            file: the variant.
            recipe: of it.
            evidence: what is known of it so far, with its source; the verdict in it does not matter.
        """
        terms, loss = recipe.terms, self.loss(file, budget=recipe.terms.budget)
        known: dict[str, Any] = {"loss": loss, "kept": recipe.keep}
        if self._few:
            found = list(answers(file, self._few))
            known["declared"] = as_declared(file, self._few, wanted=self._wanted_few)
            error = relative_error(found, self._wanted_few)
            known["precision"] = precision_of(self.source, recipe, self._few, wanted=self._wanted_few, error=error)
            known["where"] = ranked(self.source, recipe, self._few, wanted=self._wanted_few)
        measured = evidence.model_copy(update=known)
        parts = (measured.declared, measured.precision)
        failures = [part.failure for part in parts if part is not None and part.failure]
        if failures:
            reasons, verdict = failures, "fail"
        elif loss is None:
            reasons = [f"nothing says what {terms.kind} costs: give samples with --evaluate DATA"]
            verdict = "inconclusive"
        else:
            reasons, verdict = _reasons(loss), loss.verdict
        claim = _claim(measured) if verdict == "pass" else ""
        return measured.model_copy(update={"verdict": verdict, "reasons": tuple(reasons), "claim": claim})

    def keep_within_budget(
        self, recipe: Recipe, make: Callable[[Recipe], bytes]
    ) -> tuple[Recipe, tuple[Attempted, ...]]:
        """Keep the worst nodes in float32, one after another, until the loss is within the budget.

        Args:
            recipe: that is not within it.
            make: makes a variant.

        Returns:
            The last recipe that was tried, and the way to it.
        """
        path = list[Attempted]()
        worst = [loss.node for loss in ranked(self.source, recipe, self._few, wanted=self._wanted_few)]
        for number in range(min(len(worst), _MAX_KEPT) + 1):
            recipe = Recipe(recipe.terms, recipe.samples, keep=tuple(worst[:number]))
            loss = self.loss(make(recipe), budget=recipe.terms.budget)
            if loss is None:
                break
            path.append(Attempted(kept=recipe.keep, loss=loss.loss, high=loss.high))
            if loss.verdict == "pass":
                break
        return recipe, tuple(path)


def _reasons(loss: Loss) -> list[str]:
    if loss.verdict == "pass":
        return []
    ends = f"{loss.low:.2%} to {loss.high:.2%}"
    if loss.verdict == "fail":
        return [f"it loses {loss.loss:.2%} {_of(loss)} ({ends}), more than the budget of {loss.budget:.2%}"]
    more = f"about {loss.num_deciding:,} samples would decide" if loss.num_deciding else "no number of samples decides"
    return [f"it loses {loss.loss:.2%} {_of(loss)}, but {loss.num_samples} samples tell no better than {ends}; {more}"]


def _claim(evidence: VariantEvidence) -> str:
    loss, data = evidence.loss, evidence.evaluation
    if loss is None or data is None:
        return ""
    return f"loses at most {max(loss.high, 0.0):.2%} {_of(loss)} (95 %) on {data.origin}, {data.num_samples:,} samples"


def _of(loss: Loss) -> str:
    words = {"accuracy": "accuracy", "agreement": "of its first choices", "neighbours": "of its neighbours"}
    return words.get(loss.measure, "relative to its outputs")


def _first(batches: list[Batch], number: int) -> list[Batch]:
    """The first batches, up to so many samples."""
    found, rows = list[Batch](), 0
    for batch in batches:
        if rows >= number:
            break
        found.append(batch)
        rows += batch.num_samples
    return found
