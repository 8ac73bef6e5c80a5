"""Outputs that are sized by data are told, and which of them describe the same items."""

import numpy as np
from torch import nn

from tasks.core.inputs.choice import choose_inputs
from tasks.core.reference.reference import Reference
from tasks.core.reference.structure import Group, groups_of
from tasks.core.spec.export_spec import ExportSpec
from tasks.core.spec.resolve import resolve
from tests.models.tiny_detectors import Detector
from tests.models.tiny_models import Classifier


def _reference(model: nn.Module, *inputs: str) -> Reference:
    return Reference(model.eval(), choose_inputs(resolve(ExportSpec(model=model, name="tiny", inputs=inputs)), model))


def test_the_outputs_of_a_detector_are_one_group() -> None:
    """Boxes, scores and classes are told by shape and dtype, and the detector's thresholds are known by then."""
    reference = _reference(Detector(), "image=float32[1,3,64,64]")
    assert reference.groups == (Group(outputs=(0, 1, 2), boxes=0, scores=1, labels=2),)
    assert 0.5 in reference.thresholds.scores
    assert reference.thresholds.overlaps == {0.4}


def test_a_classifier_has_no_items() -> None:
    """Nothing of it is sized by data."""
    assert _reference(Classifier(), "image=float32[2,3,8,8]").groups == ()


def _found(num_items: int) -> list[np.ndarray]:
    return [np.zeros((num_items, 4), np.float32), np.zeros(num_items, np.float32), np.zeros(num_items, np.int64)]


def test_outputs_of_two_pictures_are_two_groups() -> None:
    """Names tell which outputs belong together where two pictures have equally many items."""
    names = ["0_boxes", "0_scores", "0_labels", "1_boxes", "1_scores", "1_labels"]
    groups = groups_of(names, [*_found(3), *_found(3)], [*_found(2), *_found(4)])
    assert [group.outputs for group in groups] == [(0, 1, 2), (3, 4, 5)]
    assert [(group.boxes, group.scores, group.labels) for group in groups] == [(0, 1, 2), (3, 4, 5)]
    assert groups[1].length([*_found(3), *_found(5)]) == 5


def test_an_output_of_one_size_is_in_no_group() -> None:
    """A list of kept indices varies, the image's features beside it do not."""
    features, kept = np.zeros((7, 3), np.float32), np.arange(4)
    assert groups_of(["features", "kept"], [features, kept], [features, kept[:2]]) == (Group(outputs=(1,), labels=1),)
