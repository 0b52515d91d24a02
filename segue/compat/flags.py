"""Types of flags for argparse, which several of these commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

Number = TypeVar("Number", int, float)


def yes_or_no(text: str) -> bool:
    if text.lower() in ("1", "true", "yes"):
        return True
    if text.lower() in ("0", "false", "no"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither 0/false nor 1/true")


def add_switch(
    parser: argparse.ArgumentParser, name: str, default: bool, help: str | None = None
) -> None:
    """A flag that is true when bare, and takes 0, 1, true or false."""
    parser.add_argument(name, type=yes_or_no, nargs="?", const=True, default=default, help=help)


def positive(kind: Callable[[str], Number]) -> Callable[[str], Number]:
    """A type for numbers above 0. kind: int or float."""

    def number(text: str) -> Number:
        value = kind(text)
        if not value > 0:  # so that NaN is refused, too
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return value

    return number


def at_least(least: int) -> Callable[[str], int]:
    """A type for whole numbers from `least` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is less than {least}")
        return value

    return number


def share_below(most: float) -> Callable[[str], float]:
    """A type for shares of a whole: above 0 and below `most`."""

    def share(text: str) -> float:
        value = float(text)
        if not 0 < value < most:
            raise argparse.ArgumentTypeError(f"{text} is not between 0 and {most:g}")
        return value

    return share


def decay(text: str) -> float:
    """A factor that lowers or keeps: above 0 and at most 1."""
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return value
