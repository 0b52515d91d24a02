"""The device under test, and what makes its numbers comparable with a CPU's."""

from __future__ import annotations

import os
from collections.abc import Iterator

# read when CUDA begins; for the deterministic tests
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import pytest
import torch

DEVICE = os.environ.get("SEGUE_TEST_DEVICE", "cuda")


@pytest.fixture
def device() -> str:
    """Where the tests of this folder run. They are skipped where it is not."""
    if DEVICE.startswith("cuda") and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    return DEVICE


@pytest.fixture
def gpu(device: str) -> str:
    """The same for tests that mean nothing on another device."""
    if not device.startswith("cuda"):
        pytest.skip("of a GPU alone")
    return device


@pytest.fixture(autouse=True)
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """By default convolutions on a GPU have 10 bits of fraction instead of 23 (TF32)."""
    if torch.cuda.is_available():
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def deterministic() -> Iterator[None]:
    """The algorithms that give the same bits each time, where torch has them; attention has one
    such way only.
    """
    kernels = ("flash", "mem_efficient", "cudnn")
    before = [getattr(torch.backends.cuda, f"{name}_sdp_enabled")() for name in kernels]
    torch.use_deterministic_algorithms(True, warn_only=True)
    for name in kernels:
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(False)
    yield
    torch.use_deterministic_algorithms(False)
    for name, enabled in zip(kernels, before, strict=True):
        getattr(torch.backends.cuda, f"enable_{name}_sdp")(enabled)
