"""From an error to an exit code: what every command, of segue and of scripts, runs inside of."""

from __future__ import annotations

import sys
from collections.abc import Callable

from segue.errors import Interrupted, SegueError, printable


def guarded(command: Callable[[], int | None], program: str) -> int:
    """Run a command; returns the exit code, its own or 0.

    What a user or the machine did wrong is one line on standard error, never a traceback; a fault
    of ours still raises.
    """
    try:
        return command() or 0
    except SegueError as error:
        sys.stderr.write(f"{program}: error: {error.message}\n")
        return error.exit_code
    except Interrupted as stop:
        sys.stderr.write(f"{program}: {stop}, the same command resumes\n")
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:  # a full disk, a folder that may not be written to
        sys.stderr.write(
            printable(
                f"{program}: error: {error}; finished work is kept, the same command resumes\n"
            )
        )
        return 3
    except RuntimeError as error:
        if "out of memory" not in str(error) and "DefaultCPUAllocator" not in str(error):
            raise
        sys.stderr.write(
            f"{program}: error: out of memory outside a step; next: lower images_per_forward\n"
        )
        return 3
