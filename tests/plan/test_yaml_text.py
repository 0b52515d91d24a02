"""YAML as plans are written in it: scalars of YAML 1.2, and no depth that costs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from segue.plan.yaml_text import read_yaml
from tests.plan.test_reading import complaint


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1.5E3", 1500.0), (".5", 0.5), ("-3", -3), ("0x10", 16), ("0o17", 15),
        ("010", 10), ("no", "no"), ("on", "on"), ("yes", "yes"), ("true", True), ("False", False),
        ("~", None), ("", None), ("1_000", "1_000"), ("12:30", "12:30"),
        ("2024-01-01", "2024-01-01"), (".inf", float("inf")), ("'7'", "7"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text, value):
    content, _ = read_yaml(f"key: {text}", "x")
    assert content == {"key": value} and type(content["key"]) is type(value)


@given(some.floats(allow_nan=False, allow_infinity=False))
def test_every_number_python_writes_is_read_back(number):
    assert read_yaml(f"key: {number!r}", "x")[0] == {"key": number}


def test_deep_nesting_is_refused_cheaply():
    assert "nested deeper" in complaint("a: " + "[" * 500 + "]" * 500)
