"""`segue data info` counts exactly."""

from __future__ import annotations

import json

import numpy as np
import tifffile

from tests.cli.commands.data.conftest import SIDE
from tests.cli.commands.data.test_change import counted


def test_info_counts_exactly(data, flat):
    expected = counted(flat)
    code, text, _ = data("info", flat, "--json")
    figures = json.loads(text)["parts"]["all"]
    assert code == 0 and (figures["images"], figures["groups"]) == (24, 12)
    assert (
        figures["objects"]
        == expected["objects"]
        == sum(figures["sources"].values())
        == figures["with_masks"]
    )
    assert figures["classes"] == {
        name: expected[n] for n, name in (("1", "cell"), ("2", "rod"), ("3", "tube"))
    }
    assert figures["sizes"] == {f"{SIDE} x {SIDE}": 24} and figures["bits"] == {"8": 24}
    text = data("info", flat, "--group", "(_gr)")[1]
    assert "all: 24 images in 1 groups" in text and "8 bits (24)" in text


def test_info_tells_levels_and_two_sources_file_by_file(data, tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "images").mkdir()
    tifffile.imwrite(tmp_path / "images" / "a.tif", np.full((8, 9), 4000, np.uint16))
    square = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4], "source": "algorithm"}
    content = {
        "images": [{"id": 1, "file_name": "a.tif", "height": 8, "width": 9}],
        "annotations": [square],
        "categories": [{"id": 1, "name": "myotube"}],
    }
    for name in ("algorithmic_train", "manual_train"):
        (tmp_path / "annotations" / f"{name}_annotations.json").write_text(json.dumps(content))
        square.pop("source", None)
    code, text, _ = data("info", tmp_path)
    assert code == 0 and "16 bits (1), largest value 4000" in text
    assert (
        text.index("algorithmic_train: 1 images")
        < text.index("algorithm 1")
        < text.index("manual_train: 1 images")
    )
    assert "1 groups are in several splits: a (algorithmic_train, manual_train)" in text
