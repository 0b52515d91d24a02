"""The base of everything a plan file can set: frozen, and an unknown key is an error.

Each folder defines the settings it consumes; `segue.plan` combines them, and adds file, line and
the nearest name to every error.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """A frozen group of named values. Unknown keys, NaN and infinity are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True
    )
