"""1,024 grey levels in a file are 1,024 values in the network's input, in training and in
prediction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from pydantic import ValidationError

import segue
from segue import models
from segue.cli.app import main
from segue.data.dataset import Data
from segue.data.images import image_io
from segue.data.images.value_scale import value_scaled
from segue.data.pipeline.samples import Samples
from segue.data.pipeline.transforms import Augment, View
from segue.data.records import Record
from segue.errors import DataError
from segue.inference.predict import Predictor
from segue.models import rfdetr
from segue.models.parts.layers import Normalise
from segue.structures.channels import Channel
from segue.training import checkpoint

SIDE = 64


LEVELS = np.random.default_rng(0).permutation(SIDE * SIDE).reshape(SIDE, SIDE) % 1024


FILES = {"ten bits": LEVELS, "twelve bits": LEVELS * 4 + 3, "sixteen bits": LEVELS * 64}


SCALES = {"type": None, "fixed": 4095, "percentile": "percentile"}


NAMES = {"grey": ("grey",), "colour": ("r", "g", "b")}


def channels(
    scale: object, names: tuple[str, ...] = ("grey",), **more: object
) -> tuple[Channel, ...]:
    """As a plan has them."""
    listed = [{"name": name, "scale": scale, **more} for name in names]
    return Data.model_validate({"root": ".", "channels": listed}).channels


def distinct(image: torch.Tensor) -> int:
    """Different values of the first channel behind the normalisation, which is the network's first
    layer.
    """
    return len(image[0].unique())


@pytest.mark.parametrize("suffix", ["tif", "png", "npy"])
@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("names", NAMES)
def test_every_grey_level_reaches_the_network_in_training(
    tmp_path: Path, suffix: str, kind: str, scale: str, names: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    stored = FILES[kind].astype(np.uint16)
    {"tif": tifffile.imwrite, "png": lambda p, v: Image.fromarray(v).save(p), "npy": np.save}[
        suffix
    ](path, stored)
    wanted = channels(SCALES[scale], NAMES[names])
    samples = Samples([Record(path, SIDE, SIDE, 1)], (), wanted, View(SIDE, SIDE), seed=0)
    inputs = samples[0, 0][0]["images"]
    assert inputs.shape == (len(wanted), SIDE, SIDE) and torch.equal(inputs[0], inputs[-1])
    assert distinct(Normalise(wanted)(inputs[None])[0]) == 1024
    assert torch.equal(
        inputs[0].flatten().argsort(stable=True), torch.tensor(stored.ravel()).argsort(stable=True)
    )


def saved_model(folder: Path, channels: tuple[Channel, ...]) -> segue.inference.predict.Predictor:
    """A tiny detector with random weights, written as a checkpoint and read back: channels come
    from its card.
    """
    family = models.get("rfdetr")
    settled, _ = family.resolve_options(
        rfdetr.Options(resolution=SIDE, queries=5), family.SIZES["pico"], 5, "cpu"
    )
    options = settled.model_dump()
    spec = models.ModelSpec(
        family="rfdetr", size="pico", classes=("a",), channels=channels, options=options
    )
    tensors = family.build(spec, masks=False).state_dict()
    checkpoint.write(folder, tensors, checkpoint.Card(spec=spec, complete=True))
    return segue.load(folder, device="cpu")


def seen_by(predictor: Predictor, picture: Any) -> torch.Tensor:
    """What the network's first layer (C, H, W) hands on when an image is predicted."""
    seen = []
    first = next(module for module in predictor.chain.modules() if isinstance(module, Normalise))
    hook = first.register_forward_hook(lambda module, given, result: seen.append(result[0]))
    predictor.predict(picture, 0.5)
    hook.remove()
    return seen[0]


@pytest.mark.parametrize("scale", SCALES)
def test_prediction_sees_the_same_values_as_training(tmp_path: Path, scale: str) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, FILES["twelve bits"].astype(np.uint16))
    wanted = channels(SCALES[scale])
    samples = Samples([Record(path, SIDE, SIDE, 1)], (), wanted, View(SIDE, SIDE), seed=0)
    trained_on = Normalise(wanted)(samples[0, 0][0]["images"][None])[0]
    predictor = saved_model(tmp_path / "model", wanted)
    for picture in (path, image_io.read(path, 1)):  # `segue predict` decodes first
        seen = seen_by(predictor, picture)
        assert distinct(seen) == 1024 and torch.equal(seen, trained_on)


def test_prediction_takes_the_plane_that_training_took(tmp_path: Path) -> None:
    write_stack(tmp_path / "z.tif", "Z")
    predictor = saved_model(tmp_path / "model", channels(255, plane=2))
    assert torch.equal(
        seen_by(predictor, tmp_path / "z.tif"), torch.full((1, SIDE, SIDE), (3 / 255 - 0.5) / 0.25)
    )


def test_inspect_tells_what_becomes_of_the_values_of_each_channel(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = channels("percentile", ("sharp",), percentiles=(1, 99), plane=4, mean=0.4, std=0.2)
    saved_model(tmp_path / "model", (*channels(4095, ("r",)), *more, *channels(None)))
    assert main(["inspect", str(tmp_path / "model")]) == 0
    lines = capsys.readouterr().out.splitlines()
    (first,) = [number for number, line in enumerate(lines) if line.startswith("channels")]
    assert lines[first : first + 4] == [
        "channels   r: largest value of all planes, / 4095, - 0.485, / 0.229",
        "           sharp: plane 4, percentiles 1 and 99 of each image to 0 and 1, - 0.4, / 0.2",
        "           grey: largest value of all planes, / the largest value of the type, - 0.5, / "
        "0.25",
        next(line for line in lines if line.startswith("options")),
    ]


def test_augmentation_makes_no_levels_equal() -> None:
    view = View(
        SIDE,
        SIDE,
        Augment(flip=1, vertical_flip=1, crop=0, brightness=0.3, contrast=0.3, saturation=0),
    )
    image = value_scaled(
        torch.from_numpy(LEVELS.astype(np.uint16))[None].expand(3, -1, -1), channels(1023) * 3
    )
    changed, _, _ = view(image, torch.zeros(0, 4), torch.zeros(0, 2), seed=3)
    assert changed.max() > 1 and distinct(changed) == 1024


def test_percentiles_are_those_of_the_image_and_hot_pixels_do_not_reach_far() -> None:
    stored = np.arange(1000, dtype=np.uint16).reshape(1, 20, 50)
    values = value_scaled(torch.from_numpy(stored), channels("percentile", percentiles=(10, 90)))[
        0
    ].ravel()
    assert values[99] == 0 and values[899] == 1 and float(values[499]) == pytest.approx(0.5)
    stored[0, 0, 0] = 65535
    hot = value_scaled(torch.from_numpy(stored), channels("percentile"))
    assert 4 < hot.max() < 7 and hot.median() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "stored", [np.full((8, 8), 7), np.pad(np.array([[900]]), 40, constant_values=20)]
)
def test_an_image_of_nearly_one_value_stays_finite(stored: Any) -> None:
    values = value_scaled(torch.from_numpy(stored.astype(np.uint16))[None], channels("percentile"))
    assert values.min() >= 0 and values.max() <= 1 and distinct(values) == len(np.unique(stored))


def write_stack(path: Path, axis: str) -> None:
    """Five planes; plane p has the value p + 1, but for one pixel of 200 in plane 0."""
    planes = np.broadcast_to(np.arange(1, 6, dtype=np.uint8)[:, None, None], (5, SIDE, SIDE)).copy()
    planes[0, 3, 4] = 200
    if axis == "Q":
        tifffile.imwrite(path, planes)
    elif axis == "I":
        with tifffile.TiffWriter(path) as file:
            for plane in planes:
                file.write(plane, contiguous=False)
    else:
        tifffile.imwrite(path, planes, imagej=path.name[0] == "i", metadata={"axes": axis + "YX"})


@pytest.mark.parametrize(
    ("values", "scale", "levels"),
    [
        (LEVELS / np.float32(1023), None, 1024),
        (LEVELS.astype(np.float32) * 4, 4095, 1024),
        (LEVELS.astype(np.int32), 1023, 1024),
        (LEVELS.astype(np.float64) * 7.3 - 99.5, "percentile", 1024),
        (
            LEVELS.astype(np.float32) * 7.3 - 99.5,
            4095,
            "from -99.5 to 7368; expected 0..1, whole numbers up to 65535",
        ),
        (LEVELS.astype(np.int32) - 5, None, "int32 from -5 to 1018"),
        (np.where(LEVELS == 9, np.nan, LEVELS), "percentile", "NaN or infinite"),
    ],
)
def test_other_types_of_numbers_keep_their_levels_or_are_refused(
    tmp_path: Path, values: Any, scale: int | str | None, levels: int | str
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", values)
    wanted = channels(scale)
    if isinstance(levels, str):
        with pytest.raises(DataError, match=levels):
            image_io.read(tmp_path / "a.tif", wanted)
        return
    image = value_scaled(image_io.read(tmp_path / "a.tif", wanted), wanted)
    assert distinct(image) == levels and image.min() > -3 and image.max() < 3


@pytest.mark.parametrize(
    "fields",
    [
        {"percentiles": (1, 99)},
        {"scale": "percentile", "percentiles": (99, 1)},
        {"plane": -1},
        {"scale": 0},
        {"scale": "percentiles"},
    ],
)
def test_settings_that_mean_nothing_are_one_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="1 validation error"):
        Channel.model_validate({"name": "grey", **fields})
