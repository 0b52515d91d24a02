"""JSON and YAML of others: values or a ValueError, however the text is nested."""

from __future__ import annotations

import time

import pytest

from segue.base.parsing import DEEPEST, MOST_NODES, parse_json, parse_yaml, read_json


def test_json_is_read_from_files_and_texts(tmp_path):
    (tmp_path / "a.json").write_text('{"a": [1, null]}')
    assert read_json(tmp_path / "a.json") == parse_json(b'{"a": [1, null]}') == {"a": [1, None]}


@pytest.mark.parametrize("text", ["[" * 200_000, "{", "", "\xff"])
def test_json_that_is_broken_or_too_deep_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_json(text)


def test_scalars_of_yaml_stay_text_and_tags_mean_nothing():
    assert parse_yaml("a: no\nb: [1, !!python/object:os.system x]") == {"a": "no", "b": ["1", "x"]}


def test_depth_is_counted_to_the_level():
    assert parse_yaml("[" * DEEPEST + "]" * DEEPEST) is not None
    with pytest.raises(ValueError, match="nested deeper than 20"):
        parse_yaml("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1))


def test_aliases_count_as_often_as_they_are_followed():
    rows = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    rows += [
        f"{new}: &{new} [{', '.join(['*' + old] * 10)}]"
        for old, new in zip("abcde", "bcdef", strict=True)
    ]
    began = time.process_time()
    with pytest.raises(ValueError, match=f"more than {MOST_NODES} values"):
        parse_yaml("\n".join(rows))
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    ("text", "words"), [("a: &a [*a]", "contains itself"), ("a: [", "not YAML")]
)
def test_yaml_that_means_nothing_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_yaml(text)
