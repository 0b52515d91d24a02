"""Proof that what is frozen did not move: one digest of every tensor and buffer, before and after."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

from segue.errors import TrainingError
from segue.models.parts.chain import Chain


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes, in order of name."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


@dataclass(frozen=True, slots=True)
class FrozenProof:
    """The frozen parts of a stage as they were when it began."""

    parts: tuple[str, ...]
    tensors: int
    values: int
    sha256: str

    @classmethod
    def of(cls, chain: Chain) -> FrozenProof:
        tensors = dict(chain.named_tensors(chain.frozen))
        return cls(chain.frozen, len(tensors), sum(t.numel() for t in tensors.values()), digest(tensors))

    def check(self, chain: Chain) -> str:
        """One line that says nothing moved.

        Raises:
            TrainingError: if any bit of a frozen tensor changed, which is a bug of ours.
        """
        now = digest(dict(chain.named_tensors(self.parts)))
        if now != self.sha256:
            raise TrainingError("frozen " + ", ".join(self.parts), "changed while they were frozen", "no change")
        return (
            f"frozen {', '.join(self.parts)}: {self.tensors} tensors, {self.values:,} values unchanged "
            f"(sha256 {now[:12]})"
        )
