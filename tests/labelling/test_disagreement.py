"""How far views of an image disagree, and what its features tell apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.rendered_fields import render_field
from segue.cli.commands.label.auto import job_of
from segue.inference.loading import load
from segue.labelling.auto import find, with_estimates
from segue.labelling.disagreement import (
    disagreement,
    kind_assessor,
    mirror,
    model_assessor,
)
from tests.data.images.test_value_scale import SIDE, channels, saved_model, write_stack
from tests.labelling.one_eyed import GREEN, RED, paint
from tests.labelling.picking import squares
from tests.optional import present


def test_views_agree_by_overlap_and_scores() -> None:
    a = squares((5, 5, 10, 0.8), (30, 30, 10, 0.8))
    assert disagreement(a, [a]) == pytest.approx(0, abs=1e-6)
    assert disagreement(a, [squares()]) == disagreement(squares((5, 40, 10, 0.8)), [a]) == 1
    assert disagreement(squares(), [squares()]) == 0
    # two of three halves agree
    assert disagreement(a, [squares((5, 5, 10, 0.8))]) == pytest.approx(1 / 3)
    assert disagreement(a, [squares((5, 5, 10, 0.4), (30, 30, 10, 0.4))]) == pytest.approx(1 / 3)
    half = squares((5, 10, 10, 0.8), (30, 30, 10, 0.8))  # one moved by half of its side: IoU 1/3
    assert disagreement(a, [half]) == pytest.approx(1 - (1 + 1 / 3) / 2)
    assert disagreement(a, [a, squares()]) == pytest.approx(0.5, abs=1e-6)


def test_an_object_is_paired_once() -> None:
    twice = squares((5, 5, 10, 0.8), (5, 5, 10, 0.8))
    assert disagreement(squares((5, 5, 10, 0.8)), [twice]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(("seed", "count"), [(2, 8), (3, 5), (3, 8), (4, 12)])
def test_a_field_that_is_found_whole_is_not_in_doubt_because_half_of_it_is_small(
    tmp_path: Path, seed: int, count: int
) -> None:
    """At 80 px these few blobs are too little for a guess of their size, which was 4 times too
    large.
    """
    field, _ = render_field(np.random.default_rng(seed), 160, "blobs", count)
    Image.fromarray((field * 255).clip(0, 255).astype(np.uint8)).convert("RGB").save(
        tmp_path / "a.png"
    )
    seen = kind_assessor(job_of("blobs", (), "", "", None, False)).assess(
        tmp_path / "a.png", "a.png"
    )
    assert count <= len(seen.detections) <= count + 2 and 0 < present(seen.disagreement) < 0.6


@pytest.mark.parametrize("kind", ["blobs", "tubes"])
@pytest.mark.parametrize("um", [None, 0.5])
def test_what_was_found_out_about_an_image_gives_the_same_objects_again(
    kind: Any, um: float | None
) -> None:
    field, _ = render_field(np.random.default_rng(0), 200, kind, 12)
    pixels = (
        torch.from_numpy(np.stack([np.zeros_like(field), 1 - field]) * 255).round().to(torch.uint8)
    )
    job = job_of(kind, (), "", "", None, False)
    first = find(pixels, job, um)
    again: Any = with_estimates(job, first, pixels, um)
    assert (again.settings.channel, again.settings.polarity) == ("1", "dark") and first.width > 0
    second = find(pixels, again, um)
    assert (
        second.width == pytest.approx(first.width, abs=0.1)
        and len(second.shapes) == len(first.shapes) > 5
    )


@pytest.mark.parametrize("axes", [(-1,), (-2,), (-2, -1)])
def test_a_mirrored_view_comes_back_to_the_pixel(
    checkpoint: Path, tmp_path: Path, axes: tuple[int, ...]
) -> None:
    paint(tmp_path / "a.png", (30, 40, 9, RED), (90, 70, 14, GREEN))
    predictor = load(checkpoint)
    pixels = predictor.pixels(tmp_path / "a.png")
    found = predictor.predict_ready(pixels, 0.5)
    back = mirror(predictor.predict_ready(pixels.flip(axes), 0.5), axes)
    assert len(found) == 2 and {repr(r) for r in present(back.regions)} == {
        repr(found.region(i)) for i in range(2)
    }
    assert sorted(back.boxes_xyxy.tolist()) == sorted(found.boxes_xyxy.tolist())


def test_the_frozen_features_tell_images_apart_and_do_not_depend_on_position(
    checkpoint: Path, tmp_path: Path
) -> None:
    assessor = model_assessor(load(checkpoint), 0.5)
    a = paint(tmp_path / "a.png", (30, 40, 9, RED))
    moved = paint(tmp_path / "b.png", (80, 70, 9, RED))
    other = paint(tmp_path / "c.png", (30, 40, 9, GREEN))
    assert np.allclose(assessor.features(a), assessor.features(moved)) and not np.allclose(
        assessor.features(a), assessor.features(other)
    )


def test_a_model_looks_at_the_plane_it_was_trained_on(tmp_path: Path) -> None:
    write_stack(tmp_path / "z.tif", "Z")
    predictor = saved_model(tmp_path / "model", channels(255, plane=2))
    planes = [np.full((SIDE, SIDE), value, dtype=np.uint8) for value in (3, 5)]
    trained_on, largest = (predictor.features(predictor.pixels(plane)).numpy() for plane in planes)
    seen = model_assessor(predictor, 0.5).assess(tmp_path / "z.tif", "z.tif").features
    assert np.array_equal(seen, trained_on) and not np.array_equal(seen, largest)
