"""`segue data`: counted exactly, merged without loss, split without leaks; what there was is never
touched.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from segue.data.dataset import Data, read_dataset, read_splits
from segue.data.images import image_io
from segue.data.images.pixel_size import pixel_size_um
from segue.data.scene_groups import groups


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def counted(folder: Path) -> dict[str, int]:
    found = json.loads((folder / "_annotations.coco.json").read_text())["annotations"]
    return {
        "objects": len(found),
        **{str(n): sum(e["category_id"] == n for e in found) for n in (1, 2, 3)},
    }


def test_a_split_keeps_twins_together_and_every_object(data, flat, tmp_path):
    before = digest(flat)
    code, text, _ = data(
        "split", flat, "--out", tmp_path / "parts", "--shares", "0.5,0.25,0.25", "--seed", 3
    )
    splits = read_splits(Data(root=tmp_path / "parts"))
    names = {part: {r.image.name for r in split.records} for part, split in splits.items()}
    assert code == 0 and {part: len(found) for part, found in names.items()} == {
        "train": 12,
        "valid": 6,
        "test": 6,
    }
    fields = [set(groups(found)) for found in names.values()]
    assert sum(map(len, fields)) == len(set.union(*fields)) == 12
    assert (
        sum(sum(split.class_counts().values()) for split in splits.values())
        == counted(flat)["objects"]
    )
    assert "12 groups stayed together" in text and digest(flat) == before
    read_dataset(Data(root=tmp_path / "parts"))
    assert "in several splits" not in data("info", tmp_path / "parts")[1]
    again = data(
        "split", tmp_path / "parts", "--out", tmp_path / "again", "--shares", "1,1", "--link"
    )
    assert again[0] == 0 and {
        p: len(s.records) for p, s in read_splits(Data(root=tmp_path / "again")).items()
    } == {
        "train": 12,
        "valid": 12,
    }
    first = next((tmp_path / "again" / "train").glob("*.png"))
    assert first.stat().st_nlink == 2


def test_what_exists_is_never_replaced_and_a_failure_leaves_nothing(
    data, flat, tmp_path, monkeypatch
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for verb in (
        ["split", flat],
        ["convert", flat, "--to", "cvat"],
        ["scale", flat, "--factor", 2],
        ["merge", flat, flat],
    ):
        code, _, said = data(*verb, "--out", tmp_path / "mine")
        assert code == 2 and "mine: exists; expected a name that is free" in said
    assert digest(tmp_path / "mine").keys() == {"thesis.txt"}
    monkeypatch.setattr("segue.data.writing.folders.write_json", lambda path, content: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        data("split", flat, "--out", tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("kind", ["labelme", "cvat", "coco"])
def test_a_converted_data_set_is_the_same_data_set(data, flat, tmp_path, kind):
    assert data("split", flat, "--out", tmp_path / "parts")[0] == 0
    code, *_ = data("convert", tmp_path / "parts", "--to", kind, "--out", tmp_path / kind)
    before, after = (read_splits(Data(root=tmp_path / name)) for name in ("parts", kind))
    assert code == 0 and list(after) == ["train", "valid", "test"]
    for part, split in after.items():
        assert split.problems == [] and split.class_counts() == before[part].class_counts()
        theirs = {r.image.name: r for r in before[part].records}
        for record in split.records:
            for one, other in zip(
                record.annotations, theirs[record.image.name].annotations, strict=True
            ):
                assert np.allclose(one.mask.rings[0], other.mask.rings[0], atol=0.006)


def test_scaling_scales_pixels_masks_and_the_physical_size(data, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    values = (np.arange(60 * 80).reshape(60, 80) * 12 % 4000).astype(np.uint16)
    values[20:40, 20:60] = 4095
    tifffile.imwrite(
        folder / "a.tif",
        np.stack([values, values // 2]),
        imagej=True,
        resolution=(2, 2),
        metadata={"axes": "ZYX", "unit": "um"},
    )
    runs = {"size": [60, 80], "counts": [20 * 60 + 20, *([20, 40] * 39), 20, 20 + 20 * 60]}
    square = [[20, 20, 60, 20, 60, 40, 20, 40]]
    shapes = [
        {"id": n, "image_id": 1, "category_id": 1, "segmentation": s}
        for n, s in ((1, runs), (2, square))
    ]
    content = {
        "images": [{"id": 1, "file_name": "a.tif", "height": 60, "width": 80}],
        "annotations": shapes,
        "categories": [{"id": 1, "name": "x"}],
    }
    (folder / "_annotations.coco.json").write_text(json.dumps(content))
    code, *_ = data("scale", folder, "--out", tmp_path / "half", "--side", 40)
    (split,) = read_splits(Data(root=tmp_path / "half")).values()
    record = split.records[0]
    stack = image_io.read_stack(record.image)
    assert code == 0 and split.problems == [] and (record.height, record.width) == (30, 40)
    assert (
        stack.shape == (2, 1, 30, 40) and stack.dtype == np.uint16 and stack[0, 0, 15, 20] == 4095
    )
    assert pixel_size_um(record.image) == pytest.approx(1.0)
    areas = [
        e["area"]
        for e in json.loads((tmp_path / "half" / "_annotations.coco.json").read_text())[
            "annotations"
        ]
    ]
    assert areas == [200, 200] and all(a.box_xyxy == (10, 10, 30, 20) for a in record.annotations)


def test_wrong_flags_are_one_line(data, flat, tmp_path):
    for flags, words in (
        (["split", flat, "--shares", "1"], "two or three numbers"),
        (["split", flat, "--group", "("], "no regular"),
        (["scale", flat], "one of them, above 0"),
        (["scale", flat, "--factor", -1], "above 0"),
        (["info", tmp_path / "absent"], "no such folder"),
    ):
        more = [] if flags[0] == "info" else ["--out", tmp_path / "x"]
        code, _, said = data(*flags, *more)
        assert code == 2 and words in said and len(said.splitlines()) == 1, said
