"""Choices, thresholds and integers hide small errors of the numbers before them: such a file is looked at by node."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.core.proof.proving import weight
from tests.field.traced import traced

FEATURES = ("x=float32[batch,16]",)


class Alarm(nn.Module):
    """Scores, and whether a number made of them is high."""

    has_scores = True

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.scores, self.alarm = nn.Linear(16, 3), nn.Linear(3, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The alarm comes last."""
        scores = self.scores(x)
        is_high = torch.sigmoid(self.alarm(scores)) > 0.5
        return (scores, is_high) if self.has_scores else (is_high,)


class AlarmAlone(Alarm):
    """Truth values only."""

    has_scores = False


class Gated(Alarm):
    """Scores that an alarm lets through."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """None of them says how near the alarm was."""
        return self.scores(x) * (self.alarm(x[:, :3]) > 0)


@pytest.mark.parametrize("model", [Alarm(), AlarmAlone(), Gated()], ids=lambda model: type(model).__name__)
def test_a_small_error_before_a_threshold_fails(model: nn.Module, tmp_path: Path) -> None:
    """No probe comes so near to the threshold that it would be seen in the output."""
    file = traced(model, FEATURES, tmp_path)
    true, wrong = file.prove(), file.prove(mutate=weight("alarm.bias", lambda values: values + 0.002))
    assert (true.verdict, wrong.verdict) == ("pass", "fail"), true.reasons
    assert all(output.noise_ratio < 1 for output in wrong.outputs)
    assert "holds other values of alarm.bias than the module" in wrong.reasons[0]


def test_the_sentence_counts_other_integers(tmp_path: Path) -> None:
    """They have no noise."""
    file = traced(AlarmAlone(), FEATURES, tmp_path)
    evidence = file.prove(mutate=weight("alarm.weight", np.negative))
    assert evidence.verdict == "fail"
    assert "% of output are not what PyTorch gives (" in evidence.reasons[0]
