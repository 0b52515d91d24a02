"""Every error a user can meet, each naming where, what was found, what was expected and what to
type next.

SegueError (ValueError)            exit code 2
  PlanError                        a plan file or an override that cannot be run
  DataError                        images or annotations that cannot be trained on
  CheckpointError                  a file or folder of weights that cannot be used
    HandoverError                  weights and model differ in what the stage did not declare
  TrainingError                    a run that had to stop; exit code 3
    NonFiniteError                 a loss, gradient or weight became NaN or infinite
    OutOfMemoryError               one image alone does not fit
Interrupted (BaseException)        SIGTERM or SIGINT; exit code 143 or 130

Nothing else may reach the user as a traceback; `assert` marks bugs of ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def printable(text: str) -> str:
    """A text in which nothing but line breaks can move a terminal's cursor, change its colours, or
    fail to print.
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def show(text: object) -> None:
    """Print a result. What it quotes of files cannot do anything to the terminal."""
    print(printable(str(text)))


class SegueError(ValueError):
    """An error with a place, a finding, an expectation and a next step.

    next_step: what to type or change to get further; printed as "next: ...".
    """

    exit_code = 2

    def __init__(self, where: object, found: str, expected: str = "", next_step: str = "") -> None:
        self.where, self.found, self.expected, self.next_step = (
            str(where),
            found,
            expected,
            next_step,
        )
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """One line: `where: found; expected ...; next: ...`."""
        text = f"{self.where}: {self.found}"
        if self.expected:
            text += f"; expected {self.expected}"
        if self.next_step:
            text += f"; next: {self.next_step}"
        return printable(text)

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors cross process borders (loader workers); the default would pass the message as
        # `where`.
        return type(self), (self.where, self.found, self.expected, self.next_step)


class PlanError(SegueError):
    """A plan file or an override that cannot be run."""


class DataError(SegueError):
    """Images or annotations that cannot be trained on."""


class CheckpointError(SegueError):
    """A file or folder of weights that cannot be used."""


class HandoverError(CheckpointError):
    """Weights and model differ in something the stage did not declare fresh."""


class TrainingError(SegueError):
    """A run that had to stop. What was finished and saved before stays valid."""

    exit_code = 3


class NonFiniteError(TrainingError):
    """A loss, gradient or weight became NaN or infinite; nothing of it was saved."""


class OutOfMemoryError(TrainingError):
    """A single image does not fit in memory."""


class Interrupted(BaseException):
    """SIGTERM or SIGINT arrived; the step was finished and is saved.

    at_once: nothing was finished first: no step was being made, or it was the second signal. What
    is on disk is whole.
    """

    def __init__(self, signal_number: int, at_once: bool = False) -> None:
        self.exit_code, self.at_once = 128 + signal_number, at_once
        kept = "what was saved is whole" if at_once else "everything is saved"
        super().__init__(f"stopped by signal {signal_number}; {kept}")


# What code raises that meets values of other types or shapes than it expects.
MISFITS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


@contextmanager
def laid_out(where: object, expected: str) -> Iterator[None]:
    """Around code that takes apart what another program, or nobody knows who, wrote: values of
    other types than it has to have, missing keys and wrong shapes are an error of the file's.

    Raises:
        CheckpointError: at `where`, of whatever goes wrong.
    """
    try:
        yield
    except SegueError:
        raise
    except MISFITS as error:
        first = str(error).strip().split("\n")[0][:160]
        raise CheckpointError(
            where, f"not laid out like one ({type(error).__name__}: {first})", expected
        ) from None
