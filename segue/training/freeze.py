"""Proof that what is frozen did not move: a digest of its tensors and buffers, before and after."""

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
    """What is frozen in a stage, as it was when the stage (or its latest thaw) began.

    position: of the boundary along the chain. label: what is frozen, in words; empty if nothing is.
    """

    position: float
    label: str
    names: tuple[str, ...]
    values: int
    sha256: str

    @classmethod
    def of(cls, chain: Chain) -> FrozenProof:
        tensors = chain.frozen_tensors()
        values = sum(t.numel() for t in tensors.values())
        return cls(chain.frozen_to, chain.frozen_label(), tuple(tensors), values, digest(tensors))

    def check(self, chain: Chain) -> str:
        """One line that says nothing moved.

        Raises:
            TrainingError: if any bit of a frozen tensor changed, which is a bug of ours.
        """
        tensors = chain.state_dict()
        now = digest({name: tensors[name] for name in self.names})
        if now != self.sha256:
            raise TrainingError(f"frozen {self.label}", "changed while it was frozen", "no change")
        return (
            f"frozen {self.label}: {len(self.names)} tensors, {self.values:,} values "
            f"unchanged (sha256 {now[:12]})"
        )
