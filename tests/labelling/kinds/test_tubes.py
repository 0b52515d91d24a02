"""Tubes: joined through crossings, which belong to both; whatever the size, the polarity and the
bit depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.rendered_fields import Drawn, render_field
from segue.labelling.kinds import Finding, tubes
from segue.labelling.kinds._lines import joined, near_junctions, pieces
from segue.structures.strokes import around, raster, resampled
from tests.labelling.scoring import f1, full, halved, levels, right

SIDE = 480


def look(image: np.ndarray, pixels_per_unit: float = SIDE / 1000, **settings: Any):
    return tubes.find(image, tubes.Settings(**settings), pixels_per_unit)


def draw_shapes(*lines: object, width: float = 7.0, side: int = 200):
    """An image of straight or bent lines ((x, y), ...), and each line's pixels."""
    image = np.zeros((side, side))
    truth: list[Any] = []
    for line in lines:
        pixels, _, _ = around(resampled(np.array(line, dtype=float)), width / 2, side, side)
        image[pixels[:, 1], pixels[:, 0]] += 0.4
        truth.append(Drawn(*raster(pixels)))
    noise = np.random.default_rng(0).normal(0, 0.01, image.shape)
    return levels((ndimage.gaussian_filter(image + 0.1, 0.8) + noise).clip(0, 1)), truth


@pytest.fixture(scope="module")
def field() -> tuple[np.ndarray, list[Drawn]]:
    return render_field(np.random.default_rng(1003), SIDE, "tubes", 14)


@pytest.fixture(scope="module")
def labels(field: tuple[np.ndarray, list[Drawn]]) -> Finding:
    return look(levels(field[0]))


def test_crowded_tubes_in_uneven_light_are_found(
    field: tuple[np.ndarray, list[Drawn]], labels: Finding
) -> None:
    assert f1(labels.shapes, field[1], SIDE) >= 0.75
    assert labels.doubt == "" and not labels.dark


def test_a_crossing_belongs_to_both_tubes() -> None:
    image, truth = draw_shapes(((20, 30), (180, 170)), ((30, 160), (170, 40)))
    shapes = look(image).shapes
    assert len(shapes) == 2 == right(shapes, truth, 200)
    shared = full(truth[0], 200) & full(truth[1], 200)
    both = full(shapes[0], 200) & full(shapes[1], 200)
    assert (both & shared).sum() >= 0.8 * shared.sum() and both.sum() < 1.5 * shared.sum()


def test_without_joining_the_same_crossing_is_four_pieces() -> None:
    image, _ = draw_shapes(((20, 30), (180, 170)), ((30, 160), (170, 40)))
    assert len(look(image, gap=0).shapes) == 4


def test_a_gap_is_bridged_and_a_wide_one_is_not() -> None:
    narrow, _ = draw_shapes(((20, 100), (85, 100)), ((105, 100), (180, 100)))
    assert len(look(narrow, gap=5).shapes) == 1
    wide, _ = draw_shapes(((20, 100), (70, 100)), ((130, 100), (180, 100)))
    assert len(look(wide, gap=5).shapes) == 2


def test_a_sharp_corner_is_two_tubes() -> None:
    image, _ = draw_shapes(((20, 60), (100, 60)), ((104, 66), (104, 170)))
    assert len(look(image).shapes) == 2


@pytest.mark.parametrize("width", [4.0, 7.0, 12.0])
def test_masks_are_as_wide_as_the_tubes(width: float) -> None:
    image, truth = draw_shapes(((30, 30), (110, 60), (170, 110)), width=width)
    shapes = look(image).shapes
    assert len(shapes) == 1
    assert abs(shapes[0].mask.sum() / truth[0].mask.sum() - 1) < 0.2


def test_tubes_of_different_widths_keep_their_own() -> None:
    thin, thick = (
        draw_shapes(((20, 40), (180, 50)), width=4.0),
        draw_shapes(((20, 140), (180, 150)), width=10.0),
    )
    shapes = look(np.maximum(thin[0], thick[0])).shapes
    assert len(shapes) == 2 == right(shapes, [thin[1][0], thick[1][0]], 200)
    areas = sorted(shape.mask.sum() for shape in shapes)
    assert areas[1] > 1.8 * areas[0]


def test_an_image_of_half_the_size_has_the_same_tubes() -> None:
    image, truth = draw_shapes(
        ((20, 30), (180, 170)), ((30, 160), (170, 40)), ((100, 10), (60, 190)), width=9.0
    )
    half = look(levels(halved(image[..., 0] / 4095)), 0.1)
    at_half = [Drawn(0, 0, full(shape, 200)[::2, ::2]) for shape in truth]
    assert len(look(image).shapes) == len(half.shapes) == 3 == right(half.shapes, at_half, 100)


def test_a_field_of_half_the_size_has_about_the_same_tubes(
    field: tuple[np.ndarray, list[Drawn]], labels: Finding
) -> None:
    half = look(levels(halved(field[0])), SIDE / 2000)
    at_half = [Drawn(0, 0, full(shape, SIDE)[::2, ::2]) for shape in labels.shapes]
    assert right(half.shapes, at_half, SIDE // 2) >= 0.75 * len(labels.shapes)


def test_dark_on_bright_is_bright_on_dark_turned_over(
    field: tuple[np.ndarray, list[Drawn]], labels: Finding
) -> None:
    dark = look(4095 - levels(field[0]))
    assert dark.dark and len(dark.shapes) == len(labels.shapes)
    assert right(dark.shapes, labels.shapes, SIDE) == len(labels.shapes)


def test_sixteen_bits_keep_tubes_that_eight_would_lose(
    field: tuple[np.ndarray, list[Drawn]], labels: Finding
) -> None:
    faint = levels(field[0], 1000, 1400)
    assert right(look(faint).shapes, labels.shapes, SIDE) >= len(labels.shapes) - 1


def test_noise_blobs_and_an_empty_image_are_doubtful() -> None:
    noise = np.random.default_rng(5).normal(0.5, 0.1, (200, 200)).clip(0, 1)
    assert look(levels(noise)).doubt
    assert look(levels(render_field(np.random.default_rng(2), 240, "blobs", 12)[0])).doubt
    assert look(levels(np.full((50, 50), 0.4))).doubt == "the image is one even colour"


def test_a_width_may_be_given_in_units() -> None:
    image, _ = draw_shapes(((20, 30), (180, 170)))
    assert look(image, pixels_per_unit=2, width=3.5).width == 7


def test_pieces_are_in_order_and_end_before_junctions() -> None:
    skeleton = np.zeros((40, 60), dtype=bool)
    skeleton[20, 5:55] = skeleton[2:38, 30] = True
    cut = pieces(skeleton & ~near_junctions(skeleton, 3.0))
    assert len(cut) == 4
    assert all((np.abs(np.diff(line, axis=0)).max(1) == 1).all() for line in cut)
    assert min(np.abs(line - [30, 20]).max(1).min() for line in cut) > 3


def test_the_straightest_way_wins_and_each_end_is_joined_once() -> None:
    lines = [np.stack([np.linspace(x0, x1, 20), np.linspace(y0, y1, 20)], 1) for x0, y0, x1, y1 in
             ((0, 0, 19, 0), (25, 0, 44, 0), (25, 3, 44, 8))]  # fmt: skip
    chains = joined(lines, gap=10, degrees=40, reach=10)
    assert sorted(len(chain) for chain in chains) == [1, 2]
    long = next(chain for chain in chains if len(chain) == 2)
    assert {float(line[:, 1].max()) for line in long} == {0.0}
    assert abs(np.linalg.norm(long[1][0] - long[0][-1]) - 6) < 1e-6, (
        "turned so that they follow one another"
    )
