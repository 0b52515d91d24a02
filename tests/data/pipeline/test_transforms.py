"""None"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as VF
from torchvision import tv_tensors

from segue.data.pipeline.transforms import Augment, Points, View, _ColourJitter
from segue.models.parts.layers import Normalise
from segue.structures.channels import RGB, Channel
from segue.structures.masks import raster_polygon

OUTLINE = torch.tensor([[12.0, 8.0], [41.0, 15.0], [33.0, 38.0], [9.0, 30.0]])


BOX = torch.tensor([[9.0, 8.0, 41.0, 38.0]])


def picture(side: int = 48) -> torch.Tensor:
    """The outline filled, so that image and points can be compared after any transform."""
    mask = raster_polygon([OUTLINE.numpy()], (0, 0, side, side))
    return torch.from_numpy(mask).to(torch.uint8).expand(3, -1, -1) * 255


def overlap(image: torch.Tensor, points: torch.Tensor) -> float:
    drawn = raster_polygon([points.double().numpy()], (0, 0, image.shape[-1], image.shape[-2]))
    seen = image[0].numpy() > 127
    return (drawn & seen).sum() / (drawn | seen).sum()


@pytest.mark.parametrize("seed", range(12))
def test_image_boxes_and_points_stay_together_through_every_augmentation(seed: int) -> None:
    view = View(
        96,
        96,
        Augment(flip=0.5, vertical_flip=0.5, crop=0.7, brightness=0, contrast=0, saturation=0),
    )
    image, boxes, points = view(picture(), BOX, OUTLINE, seed)
    assert image.shape == (3, 96, 96)
    assert overlap(image, points) > 0.93
    clipped = points.clamp(0, 96)
    around = torch.cat([clipped.amin(0), clipped.amax(0)])
    torch.testing.assert_close(boxes[0], around, atol=1e-3, rtol=0)


def test_a_flip_is_exact_for_points() -> None:
    points = Points.of(OUTLINE, (48, 48))
    image = tv_tensors.Image(picture())
    mirrored = VF.horizontal_flip(points).as_subclass(torch.Tensor)
    assert torch.equal(mirrored, torch.stack([48 - OUTLINE[:, 0], OUTLINE[:, 1]], 1))
    # the raster itself is not symmetric at edges; points off by one pixel would give 0.91
    assert overlap(VF.horizontal_flip(image), mirrored) > 0.97
    assert (
        overlap(VF.vertical_flip(image), VF.vertical_flip(points).as_subclass(torch.Tensor)) > 0.97
    )
    padded: Any = VF.pad(points, [3, 5, 7, 9])
    assert padded.canvas_size == (62, 58)
    assert overlap(VF.pad(image, [3, 5, 7, 9]), padded.as_subclass(torch.Tensor)) == 1.0


def test_a_view_follows_from_its_seed_alone_and_leaves_the_generator_as_it_was() -> None:
    view = View(64, 64, Augment())
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = view(picture(), BOX, OUTLINE, 5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    again = view(picture(), BOX, OUTLINE, 5)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = view(picture(), BOX, OUTLINE, 6)
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_without_augmentation_the_image_is_only_fitted() -> None:
    image, boxes, points = View(24, 96)(picture(), BOX, OUTLINE, 0)
    assert image.shape == (3, 24, 96)
    torch.testing.assert_close(boxes, BOX * torch.tensor([2, 0.5, 2, 0.5]))
    torch.testing.assert_close(points, OUTLINE * torch.tensor([2, 0.5]))


FIVE = tuple(Channel.model_validate(name) for name in ("thermal", "b", "event", "r", "g"))


def five(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    pixels = torch.arange(5 * 48 * 48, dtype=torch.float32).reshape(5, 48, 48) / 12_000
    return (pixels * 255).to(dtype) if dtype == torch.uint8 else pixels


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_only_red_green_and_blue_change_colour_all_channels_are_flipped_and_cropped(
    dtype: Any,
) -> None:
    pixels, view = five(dtype), View(48, 48, Augment(flip=1, crop=0, contrast=0.3), FIVE)
    image, _, _ = view(pixels, BOX, OUTLINE, 1)
    light = [3, 4, 1]
    alone, _, _ = View(48, 48, Augment(flip=1, crop=0, contrast=0.3))(
        pixels[light], BOX, OUTLINE, 1
    )
    assert image.dtype == dtype and torch.equal(image[[0, 2]], pixels.flip(-1)[[0, 2]])
    assert torch.equal(image[light], alone) and not torch.equal(alone, pixels.flip(-1)[light])
    others = tuple(Channel(name=name) for name in "vwxyz")
    assert torch.equal(
        View(48, 48, Augment(flip=1, crop=0), others)(pixels, BOX, OUTLINE, 1)[0], pixels.flip(-1)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_a_dropped_channel_is_zero_for_the_network_as_often_as_asked_and_the_others_stay(
    dtype: Any,
) -> None:
    plain = Augment(flip=0, crop=0, brightness=0, contrast=0, saturation=0)
    drop = {"thermal": 0.3, "event+r": 0.5}
    view = View(48, 48, plain.model_copy(update={"drop": drop}), FIVE)
    normalise = Normalise(FIVE)
    whole = normalise(View(48, 48)(five(dtype), BOX, OUTLINE, 0)[0][None])[0]
    gone = []
    for seed in range(200):
        image = view(five(dtype), BOX, OUTLINE, seed)[0]
        values = normalise(image[None])[0]
        gone.append([not values[row].any() for row in range(5)])
        assert image.dtype == torch.float32  # also where nothing is dropped: a batch has one type
        assert all(torch.equal(values[row], whole[row]) for row in range(5) if not gone[-1][row])
    share = np.array(gone).mean(0)
    assert (
        abs(share[0] - 0.3) < 0.08
        and abs(share[2] - 0.5) < 0.08
        and share[2] == share[3]
        and not share[[1, 4]].any()
    )
    assert torch.equal(view(five(dtype), BOX, OUTLINE, 7)[0], view(five(dtype), BOX, OUTLINE, 7)[0])


def test_never_are_all_channels_dropped_and_dropping_changes_no_other_choice() -> None:
    always = Augment(drop={"thermal": 1, "b+event": 1, "r": 1, "g": 1})
    image = View(48, 48, always, FIVE)(five(), BOX, OUTLINE, 5)[0]
    assert torch.equal(image, View(48, 48, Augment(), FIVE)(five(), BOX, OUTLINE, 5)[0])


def test_colour_changes_are_those_of_torchvision_in_one_go() -> None:
    photo = torch.randint(
        0, 256, (3, 40, 50), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    jitter = _ColourJitter((0.3, 0.3, 0.3), RGB)
    torch.manual_seed(3)
    params = jitter.make_params([])
    torch.manual_seed(3)
    brightness, contrast, saturation = (1 + (2 * torch.rand(3) - 1) * 0.3).tolist()
    theirs = VF.adjust_saturation(photo.float() / 255, saturation)
    theirs = VF.adjust_brightness(VF.adjust_contrast(theirs, contrast), brightness)
    ours = jitter.transform(tv_tensors.Image(photo), params)
    assert (ours.float() - theirs * 255).abs().mean() < 2  # theirs clips and rounds in between


def test_an_image_without_objects_passes() -> None:
    image, boxes, points = View(32, 32, Augment(crop=1))(
        picture(), torch.zeros(0, 4), torch.zeros(0, 2), 3
    )
    assert image.shape == (3, 32, 32) and boxes.shape == (0, 4) and points.shape == (0, 2)
    assert np.isfinite(boxes.numpy()).all()
