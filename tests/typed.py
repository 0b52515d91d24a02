"""Commands typed in this process, which has torch: a new one takes longer to load it than to train.

Each recipe's first command has a process of its own, so that it is known to run as a person types
it.
"""

from __future__ import annotations

import io
import runpy
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest


def in_process(script: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """What `python script arguments...` typed in `cwd` returns and says."""
    line = [script.name, *map(str, arguments)]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(script.parent))
        patch.chdir(cwd)
        patch.setattr(sys, "argv", line)
        with (
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
            pytest.raises(SystemExit) as end,
        ):
            runpy.run_path(str(script), run_name="__main__")
    code = end.value.code
    return subprocess.CompletedProcess(line, int(code or 0), out.getvalue(), err.getvalue())
