"""What a training step will need, counted before it is taken: on meta tensors, which have sizes and no values."""

from __future__ import annotations

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
