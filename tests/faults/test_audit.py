"""The data doctor: every planted defect is named, what is good stays usable, and nobody's file
changes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from segue.cli.app import main
from segue.data.audit import audit
from segue.data.dataset import Data, read_dataset, read_splits
from segue.data.problems import KINDS, Problem
from segue.data.synthetic import render_dataset
from segue.errors import DataError
from tests.conftest import ROOT
from tests.faults.corpus import CASES
from tests.faults.corpus_formats import OTHERS
from tests.faults.planting import CROSSED, picture, thing

# Not to be planted in a data set that segue writes, or not in one of this size.
ELSEWHERE = {
    "channel of another name",
    "quarantine list",
    "region without a class",
    "shape without area",
    "other",
    "too many pictures to compare",
}


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    return render_dataset(
        tmp_path_factory.mktemp("clean"), {"train": 5, "valid": 3, "test": 2}, side=96, seed=5
    )


@pytest.fixture
def data(clean, tmp_path) -> Path:
    return Path(shutil.copytree(clean, tmp_path / "data"))


def found_in(data: Path, channels=None, **options) -> list[Problem]:
    return audit(read_splits(Data(root=data)), channels, **options)


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_clean_data_set_has_nothing_to_refuse_or_doubt(clean, promise):
    assert {finding.action for finding in found_in(clean)} <= {"note"}
    promise("audit", 1, "clean data sets")


def test_every_kind_of_defect_is_planted():
    assert len(CASES) >= 45
    assert {case[0] for case in (*CASES, *OTHERS)} == set(KINDS) - ELSEWHERE


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=lambda number: f"{number} {CASES[number][0]}"
)
def test_a_planted_defect_is_named(number, data, promise):
    kind, plant, *channels = CASES[number]
    before = {finding.kind for finding in found_in(data)}
    plant(data)
    files = hashes(data)
    found = [finding for finding in found_in(data, *channels) if finding.kind == kind]
    assert found, (
        f"{kind} is not among {sorted({finding.kind for finding in found_in(data, *channels)})}"
    )
    assert kind not in before or kind in ("image without objects", "mixed kinds of images")
    assert all(finding.found and finding.place.file for finding in found)
    assert hashes(data) == files
    promise("P10", 1, "data sets with a planted defect")


def test_every_kind_of_defect_is_in_the_documentation():
    page = (ROOT / "docs" / "data-audit.md").read_text()
    missing = [
        k
        for k, row in KINDS.items()
        if k != "other" and f"| {row.action} | {k} | {row.advice} |" not in page
    ]
    assert missing == [] and page.count("\n| ") >= len(KINDS)


def test_a_finding_says_file_image_and_object(data):
    thing(segmentation=[CROSSED])(data)
    entry = json.loads((data / "train" / "_annotations.coco.json").read_text())["annotations"][3]
    finding = next(f for f in found_in(data) if f.kind == "polygon that crosses itself")
    place = finding.place
    assert (finding.split, place.image_id, place.annotation_id) == (
        "train",
        entry["image_id"],
        entry["id"],
    )
    assert place.file.endswith("train/_annotations.coco.json") and place.image.endswith(".png")


def test_quick_looks_at_headers_only(data):
    picture(lambda path: path.write_bytes(path.read_bytes()[:400]))(data)
    kinds = {finding.kind for finding in found_in(data, pixels=False)}
    assert "damaged image" not in kinds
    picture(lambda path: path.write_bytes(path.read_bytes()[:10]))(data)
    assert "damaged image" in {finding.kind for finding in found_in(data, pixels=False)}


def test_the_rest_is_used_with_the_quarantine_list(data, tmp_path, capsys):
    """One object of an image is bad, and one image: the others of both stay, and the list is part
    of the data.
    """
    whole = read_dataset(Data(root=data))
    thing(bbox=[1, 2, float("nan"), 4])(data)
    picture(lambda path: path.write_bytes(path.read_bytes()[:400]))(data)
    assert main(["data", "audit", str(data), "--out", str(tmp_path / "audit")]) == 2
    printed = capsys.readouterr()
    assert "damaged image" in printed.out and "data.quarantine" in printed.err
    with pytest.raises(DataError, match="NaN"):
        read_dataset(Data(root=data))
    kept = read_dataset(Data(root=data, quarantine=tmp_path / "audit" / "quarantine.json"))
    entry = json.loads((data / "train" / "_annotations.coco.json").read_text())["annotations"][3]
    left = {record.id: len(record.annotations) for record in kept.splits["train"].records}
    before = {record.id: len(record.annotations) for record in whole.splits["train"].records}
    del before[1]
    if entry["image_id"] in before:
        before[entry["image_id"]] -= 1
    assert left == before and kept.manifest != whole.manifest
    listed, rest = str(tmp_path / "audit" / "quarantine.json"), str(tmp_path / "rest")
    assert (
        main(["data", "convert", str(data), "--to", "coco", "--out", rest, "--quarantine", listed])
        == 0
    )
    assert "things that are wrong are left out (first: " in capsys.readouterr().out
    written = read_dataset(Data(root=tmp_path / "rest"))
    assert sum(len(r.annotations) for r in written.splits["train"].records) == sum(left.values())


def test_an_object_that_is_there_twice_is_left_out_once(data, tmp_path, capsys):
    def change(content: dict) -> None:
        content["annotations"].append(content["annotations"][3])

    path = data / "train" / "_annotations.coco.json"
    content = json.loads(path.read_text())
    objects = len(content["annotations"])
    change(content)
    path.write_text(json.dumps(content))
    assert main(["data", "audit", str(data), "--out", str(tmp_path / "audit")]) == 0
    kept = read_dataset(Data(root=data, quarantine=tmp_path / "audit" / "quarantine.json"))
    assert sum(kept.splits["train"].class_counts().values()) == objects
    capsys.readouterr()


def test_a_shape_of_another_format_is_named_and_left_out(clean, tmp_path, capsys):
    assert (
        main(["data", "convert", str(clean), "--to", "labelme", "--out", str(tmp_path / "labelme")])
        == 0
    )
    path = next(
        p
        for p in sorted((tmp_path / "labelme" / "train").glob("*.json"))
        if "polygon" in p.read_text()
    )
    content = json.loads(path.read_text())
    content["shapes"][1]["points"][0] = [1e9, 2]
    path.write_text(json.dumps(content))
    assert main(["data", "audit", str(tmp_path / "labelme"), "--out", str(tmp_path / "audit")]) == 2
    (finding,) = (f for f in found_in(tmp_path / "labelme") if f.kind == "coordinates far outside")
    assert (finding.place.file, finding.place.annotation_id) == (
        str(path),
        "shape 1",
    ) and finding.action == "quarantine"
    kept = read_dataset(
        Data(root=tmp_path / "labelme", quarantine=tmp_path / "audit" / "quarantine.json")
    )
    whole = read_dataset(Data(root=clean))
    assert sum(kept.counts()["train"].values()) == sum(whole.counts()["train"].values()) - 1
    capsys.readouterr()


def test_no_list_is_no_quarantine(data, tmp_path):
    (tmp_path / "list.json").write_text('{"images": [{"path": 3}], "objects": []}')
    for name in ("list.json", "nowhere.json"):
        with pytest.raises(DataError, match="quarantine.json that segue data audit wrote"):
            read_dataset(Data(root=data, quarantine=tmp_path / name))


def test_the_page_is_complete_and_escaped(data, tmp_path, capsys):
    path = data / "train" / "_annotations.coco.json"
    path.write_text(path.read_text().replace('"cell"', '"<script>alert(1)</script>"'))
    thing(segmentation=[CROSSED])(data)
    picture(lambda image: image.write_bytes(b""))(data)
    before = hashes(data)
    assert main(["data", "audit", str(data), "--out", str(tmp_path / "audit"), "--json"]) == 2
    printed = json.loads(capsys.readouterr().out)
    files = {path.name: path.read_text() for path in (tmp_path / "audit").iterdir()}
    assert set(files) == {"findings.json", "quarantine.json", "audit.html"}
    assert json.loads(files["findings.json"]) == printed and hashes(data) == before
    assert {"empty image file", "polygon that crosses itself"} <= {
        finding["kind"] for finding in printed
    }
    page = files["audit.html"]
    assert "<script" not in page and "http" not in page and page.count("data:image/webp") >= 1
    assert "cannot be shown" in page and "polygon that crosses itself" in page
