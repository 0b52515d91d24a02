"""Which device is meant, and whether it is here."""

from __future__ import annotations

import torch

from segue.errors import PlanError


def pick_device(name: str) -> str:
    """The device that a plan or a command asks for; auto is a GPU if there is one.

    Raises:
        PlanError: if there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, number = name.partition(":")
    gpus = torch.cuda.device_count()
    there = {"cpu": 1, "cuda": gpus}.get(kind, 0)
    if not (number or "0").isdecimal() or int(number or 0) >= there:
        raise PlanError(
            "device", f"no {name} here", "auto, cpu" + "".join(f", cuda:{i}" for i in range(gpus))
        )
    return name if kind == "cuda" else "cpu"
