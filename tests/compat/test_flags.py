"""Types of flags: what they read, and what argparse says of the rest."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import pytest

from segue.compat.flags import add_switch, at_least, decay, positive, share_below


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (positive(int), "3", 3),
        (positive(float), "1e-4", 1e-4),
        (at_least(-1), "-1", -1),
        (share_below(0.8), "0.1", 0.1),
        (decay, "1", 1.0),
    ],
)
def test_a_number_within_its_bounds_is_read(
    kind: Callable[[str], float], text: str, value: float
) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text", "words"),
    [
        (positive(int), "0", "0 is not above 0"),
        (positive(float), "nan", "nan is not above 0"),
        (at_least(1), "0", "0 is less than 1"),
        (share_below(0.8), "0.8", "0.8 is not between 0 and 0.8"),
        (decay, "1.5", "1.5 is not above 0 and at most 1"),
    ],
)
def test_a_number_beyond_its_bounds_is_refused_with_them(
    kind: Callable[[str], float], text: str, words: str
) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=words):
        kind(text)


@pytest.mark.parametrize(
    ("line", "value"),
    [([], False), (["--flag"], True), (["--flag", "no"], False), (["--flag", "1"], True)],
)
def test_a_switch_is_true_when_bare_and_takes_a_word(
    line: list[Any] | list[str], value: bool
) -> None:
    parser = argparse.ArgumentParser()
    add_switch(parser, "--flag", False)
    assert parser.parse_args(line).flag is value


def test_a_switch_with_another_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_switch(parser, "--flag", False)
    with pytest.raises(SystemExit):
        parser.parse_args(["--flag", "maybe"])
    assert "'maybe' is neither 0/false nor 1/true" in capsys.readouterr().err
