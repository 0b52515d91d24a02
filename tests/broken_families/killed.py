"""RF-DETR whose process is killed in its fourth step, while there is a file called `deadly` in the
working folder.
"""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

from segue.models import rfdetr
from segue.models.rfdetr import *  # noqa: F403

STEPS = itertools.count(1)


def predictions(chain, state):
    """Those of RF-DETR, if it lives."""
    if next(STEPS) == 4 and Path("deadly").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return rfdetr.predictions(chain, state)
