"""Libraries that not every installation has."""

from __future__ import annotations

import importlib
from typing import Any

from segue.errors import PlanError


def import_extra(module: str, purpose: str) -> Any:
    """Import a module that comes with the extra `labels`. purpose: what the user asked for.

    Raises:
        PlanError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        state = f"{module.partition('.')[0].replace('skimage', 'scikit-image')} is not installed"
        raise PlanError(
            purpose, state, "the extra that brings it", 'pip install "segue[labels]"'
        ) from None
