"""The verdict on a lossy variant, and what may be said of it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import onnx

from tasks.core.arrays import Array
from tasks.core.records.variants import Attempted, Loss, NodeLoss, VariantEvidence, VariantTerms
from tasks.core.variants.data import Batch, Data
from tasks.core.variants.loss import loss_of
from tasks.core.variants.making import Recipe
from tasks.core.variants.measuring import RANKING_SECONDS, as_declared, precision_of, ranked
from tasks.core.variants.running import Outputs, answers, relative_error

_NUM_FEW = 128
"""Samples on which all but the loss is measured."""
_WAY_SECONDS = 600.0
"""For the ranking that the way to the budget follows."""


class Judge:
    """Holds variants of one proven file against it, on one set of samples."""

    def __init__(
        self,
        source: onnx.ModelProto,
        evaluation: Data | None,
        samples: list[Batch],
        *,
        ranking_seconds: float = RANKING_SECONDS,
    ) -> None:
        """Run the proven file.

        Args:
            source: the proven file.
            evaluation: samples to measure the loss on; None: there are none.
            samples: of the calibration, to look at where there are no others.
            ranking_seconds: after which no further node is looked at by itself.
        """
        self._ranking_seconds = ranking_seconds
        self.source, self.evaluation = source, evaluation
        looked_at = evaluation or samples
        self._few = _first(looked_at, _NUM_FEW)
        self._ranking: dict[VariantTerms, tuple[NodeLoss, ...]] = {}
        file = source.SerializeToString()
        self._wanted = list(answers(file, evaluation)) if evaluation else []
        self._wanted_few = list(answers(file, self._few)) if self._few else []

    @property
    def has_samples(self) -> bool:
        """Are there samples at all?"""
        return bool(self._few)

    def row(self) -> dict[str, Array]:
        """The first sample, as a batch of one."""
        return {name: array[:1] for name, array in self._few[0].arrays.items()}

    def loss(self, file: bytes, terms: VariantTerms) -> Loss | None:
        """What a variant costs the task; None without samples.

        Args:
            file: the variant.
            terms: with the measure, and the loss that is allowed.
        """
        return self._loss_of(list(answers(file, self.evaluation)), terms) if self.evaluation else None

    def judge(self, file: bytes, recipe: Recipe, evidence: VariantEvidence) -> VariantEvidence:
        """Measure a lossy variant and say what may be said of it.

        Args:
            file: the variant.
            recipe: of it.
            evidence: what is known of it so far, with its source; the verdict in it does not matter.
        """
        terms, loss = recipe.terms, self.loss(file, recipe.terms)
        known: dict[str, Any] = {"loss": loss, "kept": recipe.keep}
        if self._few:
            found = list(answers(file, self._few))
            known["declared"] = as_declared(file, self._few, wanted=self._wanted_few)
            error = relative_error(found, self._wanted_few)
            known["precision"] = precision_of(
                self.source, file, recipe, batches=self._few, wanted=self._wanted_few, error=error
            )
            known["where"] = tuple(
                loss for loss in self._ranked(recipe, self._ranking_seconds) if loss.node not in recipe.keep
            )
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
        """Keep the worst nodes in float32, as few as the budget asks for: twice as many each time, then back by halves.

        Args:
            recipe: that may not be within it.
            make: makes a variant.

        Returns:
            The recipe with the fewest nodes that is within the budget, else the first one; and all that were tried.
        """
        tried = list[Attempted]()

        def holds(number: int) -> bool:
            kept = tuple(worst[:number])
            loss = self.loss(make(replace(recipe, keep=kept)), recipe.terms)
            assert loss is not None  # there is evaluation data
            tried.append(Attempted(kept=kept, loss=loss.loss, high=loss.high))
            return loss.verdict == "pass"

        worst = list[str]()
        least = self._loss_of(self._wanted, recipe.terms)
        if holds(0) or least.verdict != "pass":  # of so few samples not even the proven file itself is
            return replace(recipe, keep=()), tuple(tried)
        worst = [loss.node for loss in self._ranked(recipe, _WAY_SECONDS)]
        few, many = 0, 1
        while few == len(worst) or not holds(many):
            if few == len(worst) or many == len(worst):
                return replace(recipe, keep=()), tuple(tried)
            few, many = many, min(2 * many, len(worst))
        while many - few > 1:
            middle = (few + many) // 2
            few, many = (few, middle) if holds(middle) else (middle, many)
        return replace(recipe, keep=tuple(worst[:many])), tuple(tried)

    def _loss_of(self, found: list[Outputs], terms: VariantTerms) -> Loss:
        assert self.evaluation is not None
        return loss_of(self.evaluation, self._wanted, found, budget=terms.budget, measure=terms.measure)

    def _ranked(self, recipe: Recipe, seconds: float) -> tuple[NodeLoss, ...]:
        """Nodes by what each adds, worst first; found once for the terms."""
        if recipe.terms not in self._ranking:
            found = ranked(self.source, recipe, self._few, wanted=self._wanted_few, seconds=seconds)
            self._ranking[recipe.terms] = found
        return self._ranking[recipe.terms]


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
    claim = f"loses at most {max(loss.high, 0.0):.2%} {_of(loss)} (95 %) on {data.origin}, {data.num_samples:,} samples"
    return f"{claim}; {loss.doubt}" if loss.doubt else claim


def _of(loss: Loss) -> str:
    words = {
        "accuracy": "accuracy", "agreement": "of its first choices", "masks": "overlap of its masks",
        "neighbours": "of its neighbours",
    }  # fmt: skip
    return words.get(loss.measure, "relative to its outputs")


def _first(batches: Iterable[Batch], number: int) -> list[Batch]:
    """The first batches, up to so many samples."""
    found, rows = list[Batch](), 0
    for batch in batches:
        if rows >= number:
            break
        found.append(batch)
        rows += batch.num_samples
    return found
