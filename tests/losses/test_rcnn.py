"""Losses of families with regions."""

from __future__ import annotations

from segue.losses import rcnn


def test_families_with_regions_follow_the_same_rule():
    boxes = dict.fromkeys(("classifier", "box_reg", "objectness", "rpn_box_reg"), 1.0)
    assert rcnn.task_weights("boxes", {}).active() == boxes
    assert rcnn.task_weights("masks", {}).active() == {"mask": 1.0}
    assert rcnn.task_weights("joint", {"mask": 3.0}).active() == {**boxes, "mask": 3.0}
    assert set(rcnn.TERMS) == {*boxes, "mask"}
