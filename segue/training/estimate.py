"""What memory a training step will need, counted on meta tensors before it is taken, and what a stage has needed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from segue import models
from segue.models.parts.chain import Chain


class _NothingOverflows(TorchFunctionMode):
    """transformers' layers look for overflow behind each layer in training, which meta tensors cannot answer."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.isfinite:
            return torch.ones((), device="cpu", dtype=torch.bool)
        return func(*args, **(kwargs or {}))


def activation_bytes(chain: Chain, objects: int) -> int:
    """Bytes kept for backward for one image with `objects` objects, in float32 and as frozen as the chain is.

    Counted in the forward pass; to it comes what the loss asks for: masks of matched queries, or regions.
    """
    family, spec = models.get(chain.spec.family), chain.spec
    with torch.device("meta"):
        ghost = family.build(spec, masks=chain.has_masks).to("meta")  # some tensors ignore the device they are built on
    ghost.freeze_to(chain.frozen_to)
    ghost.train()
    own = {tensor.untyped_storage()._cdata for tensor in ghost.state_dict().values()}
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            held[storage._cdata] = storage.nbytes()
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor)
    with torch.device("meta"), _NothingOverflows(), hooks:
        state = ghost({"images": torch.zeros(1, len(spec.channels), *family.input_size(spec))})
        predictions = family.predictions(ghost, state)
    return sum(held.values()) + predictions.bytes_kept(objects)


class Peak:
    """The most memory this process has used since this was made: of the GPU it trains on, or else of the machine."""

    def __init__(self, device: str) -> None:
        self.device = device
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(device)
        else:
            with suppress(OSError):  # not Linux, or not allowed: then since the process began, or not known
                Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int | None:
        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated(self.device)
        with suppress(OSError):
            lines = Path("/proc/self/status").read_text().splitlines()
            return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None)
        return None
