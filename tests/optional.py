"""Values that a test knows to be there, or of a kind, where their types promise less."""

from __future__ import annotations

from typing import Any, TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    assert value is not None
    return value


def checked(kind: type[T], value: Any) -> T:
    assert isinstance(value, kind)
    return value
