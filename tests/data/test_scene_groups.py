"""Views of one field of view are one group, and no split separates a group."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segue.data.scene_groups import group_of, groups, split_groups
from segue.errors import DataError

TWINS = {
    "colours": ("day3_field07_green.tif", "day3_field07_grey.tif", "day3_field07-DAPI.png"),
    "channels": ("well-a_01_ch1.tif", "well-a_01_ch02.tif", "well-a_01_c0.tif", "C2-well-a_01.tif"),
    "wavelengths": ("plate_C03_s1_w1DAPI.tif", "plate_C03_s1_w2.tif"),
    "planes": ("img_5_z03.tif", "img_5_z04.tif", "img_5_Z10_t02.tif", "img_5.tif"),
    "quadrants": (
        "run1_tl.png",
        "run1_br.png",
        "run1_tile_0_1.png",
        "run1_quad3.png",
        "run1_crop2.png",
        "run1.png",
    ),
    "copies": (
        "nice.png",
        "nice - Copy.png",
        "nice copy 2.png",
        "nice - Copy (3).png",
        "nice_processed.png",
    ),
    "roboflow": ("cells_1_jpg.rf.0a1b2c.jpg", "cells_1_jpg.rf.99ffee.jpg", "cells_1.png"),
    "folders of colours": ("green/x12.tif", "grey/x12.tif"),
    "planes in folders": ("field4/z01.tif", "field4/z02.tif"),
}
STRANGERS = [
    ("img_1.tif", "img_2.tif"),
    ("day1/img.tif", "day2/img.tif"),
    ("plate_C03_s1_w1.tif", "plate_C04_s1_w1.tif"),
    ("a_s1.tif", "a_s2.tif"),
    ("img (1).png", "img (2).png"),
    ("rat_1_green.tif", "rat_2_grey.tif"),
    ("evergreen_1.png", "ever_1.png"),
    ("field4/z01.tif", "field5/z01.tif"),
]


@pytest.mark.parametrize("kind", TWINS)
def test_views_of_one_field_are_one_group(kind: str) -> None:
    assert len({group_of(name) for name in TWINS[kind]}) == 1, [
        group_of(name) for name in TWINS[kind]
    ]


@pytest.mark.parametrize(("name", "other"), STRANGERS)
def test_other_fields_are_other_groups(name: str, other: str) -> None:
    assert group_of(name) != group_of(other)


def test_a_pattern_names_the_group_or_what_to_remove() -> None:
    assert group_of("2024_mouse7_left.tif", r"(mouse\d+)") == "mouse7"
    assert group_of("a/2024_mouse7_left.tif", r"_(?:left|right)$") == "a/2024_mouse7"
    assert group_of("unlike.tif", r"(mouse\d+)") == "unlike"
    with pytest.raises(DataError, match="no regular expression"):
        group_of("a.tif", "(mouse")


FIELDS = st.dictionaries(
    st.from_regex(r"[ad-rx]{2,6}[0-9]{1,3}", fullmatch=True),
    st.lists(
        st.sampled_from(
            ["_green", "_grey", "_ch1", "_z03", "_t02", "_tl", "_tile_0_1", " copy", ""]
        ),
        min_size=1,
    ),
    min_size=3,
    max_size=30,
)
SHARES = st.lists(st.floats(0.01, 1), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(FIELDS, SHARES, st.integers(0, 99))
def test_no_split_separates_twins_or_loses_an_image(fields: Any, shares: Any, seed: int) -> None:
    names = [f"{field}{view}.tif" for field, views in fields.items() for view in views]
    given_shares = dict(zip(("train", "valid", "test"), shares, strict=False))
    parts = split_groups(names, given_shares, seed)
    assert sorted(name for members in parts.values() for name in members) == sorted(set(names))
    homes = {
        group: {part for part in parts if set(parts[part]) & set(twins)}
        for group, twins in groups(names).items()
    }
    assert all(len(parts_of_group) == 1 for parts_of_group in homes.values())
    assert all(parts.values()) and len(homes) == len(fields)
    assert parts == split_groups(reversed(names), given_shares, seed)


def test_parts_are_as_large_as_asked_where_groups_allow() -> None:
    names = [f"f{number}_{colour}.tif" for number in range(50) for colour in ("green", "grey")]
    parts = split_groups(names, {"train": 0.8, "valid": 0.1, "test": 0.1}, seed=1)
    assert {part: len(members) for part, members in parts.items()} == {
        "train": 80,
        "valid": 10,
        "test": 10,
    }
    assert parts != split_groups(names, {"train": 0.8, "valid": 0.1, "test": 0.1}, seed=2)


def test_fewer_groups_than_parts_are_refused() -> None:
    with pytest.raises(DataError, match="3 images in 1 groups .f. for 2 parts.*--group"):
        split_groups(["f_z1.tif", "f_z2.tif", "f_z3.tif"], {"train": 9, "valid": 1}, seed=0)
    with pytest.raises(DataError, match="above 0"):
        split_groups(["a.tif", "b.tif"], {"train": 1, "valid": 0}, seed=0)
