"""Checkpoints that earlier versions wrote are read by this one, and answer as they did then.

`checkpoints/<version>/<family>.zip` is a checkpoint folder of that version, and `<family>.json`
what its model found in an image then. Before a release, those of its version are written, once, and
never changed again:

    python -m tests.golden.test_checkpoints
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import segue
from segue import models
from segue.cli.commands.inspect import describe_checkpoint
from segue.models import ModelSpec
from segue.models.weights.card import Card, PartSummary
from segue.structures.channels import RGB, Channel
from segue.training import checkpoint
from tests.conftest import Promise

STORED = Path(__file__).parent / "checkpoints"
FAMILIES = ("detr", "mask2former", "rfdetr", "rgbx_rcnn")
PATTERN = 97  # distinct values of a tensor: a prime, so that no two of its rows are the same
SIDE, MOST = 64, 20


def picture(channels: int) -> np.ndarray:
    """(H, W, C) uint8 that follows from nothing but this."""
    y, x = np.mgrid[:SIDE, :SIDE]
    return np.stack(
        [(x * (3 + c) + y * (7 - c) + (x * y) // (5 + c)) % 256 for c in range(channels)], 2
    ).astype("uint8")


def small(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A tensor like this one that can be compressed: few values, with half of their bits, and none
    exactly 0.
    """
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    few = tensor.flatten()[:PATTERN] + 0.02 * torch.randn(
        min(PATTERN, tensor.numel()), generator=generator
    )
    repeated = few.bfloat16().float().repeat(-(-tensor.numel() // len(few)))
    return repeated[: tensor.numel()].reshape(tensor.shape).contiguous()


def found_by(folder: Path, most: int) -> list[list[float]]:
    """What a stored model finds in the picture: score, label, box_xyxy, and the share of the
    picture its mask covers.

    Lengths are shares of the picture's side, so that all numbers are about 0..1.
    """
    predictor = segue.load(folder, "cpu")
    image = torch.from_numpy(picture(len(predictor.chain.spec.channels))).permute(2, 0, 1)
    found = predictor.predict(image, threshold=0.0, most=most)
    shares = (
        torch.zeros(len(found)) if found.masks is None else found.masks.flatten(1).float().mean(1)
    )
    columns = [found.scores, found.labels.float(), *(found.boxes_xyxy / SIDE).unbind(1), shares]
    return torch.stack(columns, 1).tolist()


def write(family_name: str, folder: Path) -> None:
    """Write the checkpoint of a small model of this version, and what it finds."""
    family = models.get(family_name)
    settled, _ = family.resolve_options(family.Options(), family.SIZES["pico"], 5, "cpu")
    channels = (*RGB, Channel(name="thermal")) if family_name == "rgbx_rcnn" else RGB
    spec = ModelSpec(
        family=family_name,
        size="pico",
        classes=("cell", "rod"),
        channels=channels,
        options=settled.model_dump(),
    )
    torch.manual_seed(0)
    chain, generator = family.build(spec, masks=True), torch.Generator().manual_seed(1)
    tensors = {name: small(tensor, generator) for name, tensor in chain.state_dict().items()}
    parts = {name: PartSummary.of(chain.part(name), False) for name in chain.order}
    card = Card(spec=spec, plan="golden", stage="masks", task="joint", complete=True, parts=parts)
    checkpoint.write(
        folder / family_name,
        tensors,
        card.model_copy(update={"code": {"segue": segue.__version__}}),
    )
    (folder / f"{family_name}.json").write_text(
        json.dumps(found_by(folder / family_name, MOST)) + "\n"
    )
    with zipfile.ZipFile(folder / f"{family_name}.zip", "w", zipfile.ZIP_LZMA) as archive:
        for path in sorted((folder / family_name).iterdir()):
            archive.write(path, f"{family_name}/{path.name}")
    checkpoint.discard(folder / family_name)


@pytest.mark.parametrize(
    "stored", sorted(STORED.glob("*/*.zip")), ids=lambda p: f"{p.parent.name}-{p.stem}"
)
def test_a_checkpoint_of_an_earlier_version_answers_as_it_did_then(
    stored: Any, tmp_path: Path, resized_as_bytes: None, promise: Promise
) -> None:
    family = stored.stem
    with zipfile.ZipFile(stored) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / family
    card = checkpoint.verify(folder)
    assert card.spec.family == family and card.complete and card.code["segue"] == stored.parent.name
    text = describe_checkpoint(folder, False)
    assert f"{family} pico, 128 x 128 px" in text and "cell, rod" in text
    then, now = (
        json.loads(stored.with_name(f"{family}.json").read_text()),
        found_by(folder, 2 * MOST),
    )
    assert len(then) == MOST
    # equal scores may come in another order
    away = np.abs(np.array(then)[:, None] - np.array(now)).max(2)
    assert away.min(1).max() < 1e-3
    promise("P18", 1, "checkpoints that an earlier version wrote")


def test_every_family_of_this_version_is_stored_and_small() -> None:
    stored = sorted(STORED.glob(f"{segue.__version__}/*.zip"))
    assert [path.stem for path in stored] == sorted(FAMILIES) == models.names()
    assert all(path.stat().st_size < 200_000 for path in STORED.rglob("*"))


def main() -> None:
    folder = STORED / segue.__version__
    if folder.exists():
        sys.exit(f"{folder} is there: what a version wrote is never written again")
    folder.mkdir(parents=True)
    for family in FAMILIES:
        write(family, folder)


if __name__ == "__main__":
    main()
