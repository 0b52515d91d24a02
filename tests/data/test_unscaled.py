"""Cameras of 12 bits write files of 16: what is nearly black to a model is said, with the line that mends it."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import yaml

from segue.data.dataset import Data, check_images
from segue.data.records import Record, Split


@pytest.mark.parametrize(("largest", "scale"), [(4095, 4095), (900, 1023), (16383, 16383), (30000, None)])
def test_few_levels_without_a_scale_are_a_note_with_the_line_to_paste(tmp_path, largest, scale):
    image = tmp_path / "a.tif"
    tifffile.imwrite(image, np.linspace(0, largest, 64 * 64).astype(np.uint16).reshape(64, 64))
    splits = {"train": Split("train", tmp_path, [Record(image, 64, 64, 1)], {})}

    def notes(channels: object) -> list[str]:
        data = Data.model_validate({"root": tmp_path, "channels": channels})
        return [str(problem) for problem in check_images(splits, data.channels, lambda done, total: None)]

    said = notes(["r", {"name": "g", "mean": 0.4}, {"name": "b", "scale": 65535}])
    if scale is None:
        assert said == []
        return
    assert len(said) == 1 and said[0].startswith("note: data.channels") and f"above {largest}: a model sees" in said[0]
    pasted = yaml.safe_load(said[0].partition("in the plan: data: ")[2])["channels"]
    assert pasted[:2] == [{"name": "r", "scale": scale}, {"name": "g", "mean": 0.4, "scale": scale}]
    assert pasted[2]["scale"] == 65535 and notes(pasted) == []
