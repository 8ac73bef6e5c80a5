"""Sentences about speed are honest: what is slower is called slower, and what noise covers is no difference."""

import pytest

from tasks.core.reports.wording import latency_change, latency_sentence
from tests.core.reports.report_records import make_latency


@pytest.mark.parametrize(
    ("onnx_ms", "torch_ms", "said"),
    [
        (2.0, 5.0, "2 ms by ONNX Runtime, 5 ms by PyTorch: 2.5 times as fast (batch 1, 2 threads)"),
        (5.0, 2.0, "5 ms by ONNX Runtime, 2 ms by PyTorch: 2.5 times as slow (batch 1, 2 threads)"),
        (2.0, 2.1, "2 ms by ONNX Runtime, 2.1 ms by PyTorch: equally fast (batch 1, 2 threads)"),
    ],
)
def test_speed_is_told_beside_pytorch(onnx_ms: float, torch_ms: float, said: str) -> None:
    """With the batch and the threads."""
    assert latency_sentence(make_latency(onnx_ms, torch_ms)) == said


def test_what_was_not_timed_says_why() -> None:
    """And an input without a batch has none."""
    untimed = make_latency(1.0, 1.0).model_copy(update={"onnx": None, "torch": None, "reason": "too dear"})
    assert latency_sentence(untimed) == "not timed: too dear"
    assert latency_sentence(make_latency(1.0, 3.0, batch_size=None, threads=1)).endswith("(1 thread)")


def test_versions_are_compared_on_equal_terms_only() -> None:
    """The same processor, threads and shapes; names of inputs may be others."""
    before = make_latency(2.0, 5.0)
    assert latency_change(before, make_latency(1.0, 5.0)) == "2 ms became 1 ms, 2 times as fast"
    assert latency_change(before, make_latency(1.0, 5.0, shapes={"picture": (1, 1, 8, 8)}))
    for other in ({"cpu": "another"}, {"threads": 1}, {"shapes": {"image": (1, 1, 9, 9)}}, {"batch_size": 3}):
        assert latency_change(before, make_latency(1.0, 5.0, **other)) == ""
    assert latency_change(None, before) == latency_change(before, None) == ""
