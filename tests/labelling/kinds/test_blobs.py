"""Blobs: what is found, whatever the size, the polarity and the bit depth; and when it is not to be
trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.rendered_fields import Drawn, render_field
from segue.base.settings import Settings
from segue.data.dataset import Data, read_splits
from segue.errors import DataError
from segue.labelling import kinds
from segue.labelling.auto import LabelJob, find, read_any
from segue.labelling.kinds import Finding, blobs
from segue.labelling.kinds._planes import clearest
from segue.structures.masks import Rle, bitmap
from tests.labelling.scoring import f1, full, halved, levels, right
from tests.optional import checked

SIDE = 320


def look(image: np.ndarray, pixels_per_unit: float = SIDE / 1000, **settings: Any):
    return blobs.find(image, blobs.Settings(**settings), pixels_per_unit)


@pytest.fixture(scope="module")
def field() -> tuple[np.ndarray, list[Drawn]]:
    return render_field(np.random.default_rng(1), SIDE, "blobs", 30)


@pytest.fixture(scope="module")
def labels(field: tuple[np.ndarray, list[Drawn]]) -> Finding:
    return look(levels(field[0]))


def discs(*centres: tuple[float, float], radius: int = 14, side: int = 120):
    ys, xs = np.mgrid[0:side, 0:side]
    inside = np.any([np.hypot(ys - y, xs - x) <= radius for y, x in centres], axis=0)
    return levels(ndimage.gaussian_filter(0.1 + 0.6 * inside, 1))


def test_nuclei_in_uneven_light_are_found(
    field: tuple[np.ndarray, list[Drawn]], labels: Finding
) -> None:
    assert f1(labels.shapes, field[1], SIDE) >= 0.95
    assert labels.doubt == "" and not labels.dark and 8 < labels.width < 20


def test_touching_discs_are_two_and_a_long_one_is_one() -> None:
    assert len(look(discs((60, 45), (60, 69))).shapes) == 2
    long = np.zeros((120, 120))
    long[50:64, 20:100] = 0.7
    assert len(look(levels(ndimage.gaussian_filter(long, 2))).shapes) == 1


def test_touching_nuclei_of_different_brightness_are_cut_between_levels() -> None:
    ys, xs = np.mgrid[0:100, 0:100]
    bumps = [
        np.exp(-(((ys - y) / 9) ** 2 + ((xs - 50) / 13) ** 2)) * top
        for y, top in ((36, 0.9), (62, 0.5))
    ]
    assert len(look(levels(np.maximum(*bumps))).shapes) == 2


def test_an_image_of_half_the_size_has_the_same_objects(
    field: tuple[np.ndarray, list[Drawn]], labels: Finding
) -> None:
    half = look(levels(halved(field[0])), SIDE / 2000)
    assert abs(2 * half.width / labels.width - 1) < 0.1
    at_half = [Drawn(0, 0, full(shape, SIDE)[::2, ::2]) for shape in labels.shapes]
    assert (
        abs(len(half.shapes) - len(labels.shapes)) <= 1
        and f1(half.shapes, at_half, SIDE // 2) >= 0.95
    )


def test_dark_on_bright_is_bright_on_dark_turned_over(
    field: tuple[np.ndarray, list[Drawn]], labels: Finding
) -> None:
    dark = look(4095 - levels(field[0]))
    assert dark.dark and len(dark.shapes) == len(labels.shapes)
    assert all(
        (a.mask == b.mask).all() and a.x == b.x
        for a, b in zip(dark.shapes, labels.shapes, strict=True)
    )


def test_sixteen_bits_keep_objects_that_eight_would_lose(
    field: tuple[np.ndarray, list[Drawn]], labels: Finding
) -> None:
    faint = levels(field[0], 1000, 1400)
    assert len(np.unique(faint >> 8)) <= 3, "nothing to be seen in 8 bits"
    assert right(look(faint).shapes, labels.shapes, SIDE) == len(labels.shapes)


def test_the_channel_with_the_objects_is_chosen_and_can_be_named(
    field: tuple[np.ndarray, list[Drawn]],
) -> None:
    empty = levels(np.random.default_rng(0).normal(0.3, 0.05, (SIDE, SIDE)).clip(0, 1))
    image = np.concatenate([empty, levels(field[0]), empty, empty], axis=2)
    assert look(image).plane == "1"
    assert clearest(image[..., :3]).name == "green"
    assert clearest(image[..., :3], "blue").name == clearest(image[..., :3], "2").name == "blue"
    with pytest.raises(DataError, match="red, green, blue; expected one of them"):
        look(image[..., :3], channel="infrared")


def test_a_diameter_means_the_same_in_micrometres_and_in_thousandths(
    field: tuple[np.ndarray, list[Drawn]],
) -> None:
    in_um = look(levels(field[0]), pixels_per_unit=1 / 0.5, diameter=7.5)
    in_share = look(levels(field[0]), pixels_per_unit=SIDE / 1000, diameter=15 / SIDE * 1000)
    assert in_um.width == in_share.width == 15
    assert len(in_um.shapes) == len(in_share.shapes)


@pytest.mark.parametrize("sigma", [0.01, 2])
def test_noise_is_doubtful(sigma: float) -> None:
    noise = ndimage.gaussian_filter(
        np.random.default_rng(5).normal(0.5, 0.1, (200, 200)), sigma
    ).clip(0, 1)
    assert "noise" in look(levels(noise)).doubt
    assert look(levels(noise)).doubt.endswith(
        "; try floor=0.68, diameter=SIZE or another --channel"
    )
    assert "try floor=0.84," in look(levels(noise), floor=0.68).doubt


def test_an_empty_image_and_a_mere_gradient_are_doubtful() -> None:
    assert look(levels(np.full((50, 50), 0.4))).doubt == "the image is one even colour"
    slope = np.linspace(0, 1, 200)[None] + np.random.default_rng(0).normal(0, 0.01, (200, 200))
    assert look(levels(slope.clip(0, 1))).doubt


def test_quality_is_higher_for_round_and_clear_objects() -> None:
    ys, xs = np.mgrid[0:160, 0:160]
    image = 0.7 * (np.hypot(ys - 40, xs - 40) < 14)
    image[100:112, 20:60], image[100:140, 20:32] = 0.7, 0.7  # an L
    image += 0.35 * (np.hypot(ys - 40, xs - 115) < 14)
    shapes = look(levels(ndimage.gaussian_filter(0.1 + image, 1)), apart=3).shapes
    quality = {name: max(s.quality for s in shapes if full(s, 160)[at]) for name, at in
               {"disc": (40, 40), "bent": (106, 26), "dim": (40, 115)}.items()}  # fmt: skip
    assert (
        quality["disc"] > 0.9
        and quality["disc"] > quality["dim"] + 0.1
        and quality["disc"] > quality["bent"] + 0.1
    )


def test_steps_are_shown_by_name(field: tuple[np.ndarray, list[Drawn]]) -> None:
    seen = {}
    blobs.find(
        levels(field[0]), blobs.Settings(), 1.0, lambda name, step: seen.update({name: step.shape})
    )
    assert list(seen) == [
        "1-normalised",
        "2-denoised",
        "3-threshold",
        "4-best-levels",
        "5-split",
        "6-outlines",
    ]
    assert set(seen.values()) == {(SIDE, SIDE)}


def test_a_kind_has_all_that_label_auto_calls() -> None:
    assert kinds.names() == ["blobs", "tubes"] and kinds.get("segue.labelling.kinds.blobs") is blobs
    for module in map(kinds.get, kinds.names()):
        assert module.CLASS and issubclass(module.Settings, Settings) and module.__doc__
        assert {"channel", "polarity", module.LENGTH} <= module.Settings.model_fields.keys()
        described = (module.Settings.__doc__ or "").replace(",", ":")
        assert all(f"{name}:" in described for name in module.Settings.model_fields), (
            "every setting is explained"
        )


@pytest.mark.slow
def test_real_nuclei_are_found_and_poor_images_are_doubtful(
    sample_data: Callable[[str], Path],
) -> None:
    """All of nuclei-28; the figures are those of benchmarks/labels.py."""
    scores = []
    for split in read_splits(Data(root=sample_data("nuclei-28"))).values():
        for record in split.records:
            finding = find(
                read_any(record.image),
                LabelJob(cast(Any, blobs), blobs.Settings(), "nucleus"),
                None,
            )
            truth = [
                Drawn(x, y, bits)
                for bits, x, y in (bitmap(checked(Rle, a.mask)) for a in record.annotations)
            ]
            scores.append(
                (f1(finding.shapes, truth, max(record.height, record.width)), finding.doubt)
            )
    assert len(scores) == 28 and np.mean([score for score, _ in scores]) >= 0.80
    assert all(doubt for score, doubt in scores if score < 0.6)
