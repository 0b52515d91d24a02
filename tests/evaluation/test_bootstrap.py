"""Differences between two models, and how sure they are."""

from __future__ import annotations

from segue.evaluation.bootstrap import compare
from tests.evaluation.test_coco_metrics import measured


def test_a_better_model_is_called_better_and_the_same_one_unchanged():
    good, bad = measured(3), measured(3, noise=1)
    bad.results = bad.results[::4]
    gain = compare(bad, good, "box")
    assert gain.verdict == "better" and gain.gain > 0 and gain.low <= gain.gain <= gain.high
    assert compare(good, bad, "box").verdict == "worse"
    same = compare(good, good, "box")
    assert same.verdict == "unchanged" and str(same).endswith(
        "12 images): few images, take it as a hint: unchanged"
    )
