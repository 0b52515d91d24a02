"""The error of a file that decoders cannot use."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from segue.data.problems import Place, Problem
from segue.errors import DataError


class ImageError(DataError):
    """An image file that cannot be used; kind: the row of KINDS that says why."""

    def __init__(
        self, kind: str, where: object, found: str, expected: str = "", next_step: str = ""
    ) -> None:
        super().__init__(where, found, expected, next_step)
        self.kind = kind

    @override
    def __reduce__(self) -> tuple[Any, ...]:
        # the base class's arguments, with the kind before them: loader workers pickle errors
        return type(self), (self.kind, *super().__reduce__()[1])

    def problem(self) -> Problem:
        return Problem(self.kind, Place(self.where), self.found, self.expected)
