"""What a model asks of a machine, counted on meta tensors before anything is taken, and what a
stage has needed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from typing_extensions import override

from segue import models
from segue.models.parts.chain import Chain

# of the activations under autocast; 0.55 to 1.0, since norms keep single precision and some are
# kept twice
HALF = 0.75
# peak of a step's memory over what it keeps: gradients of activations, and what allocators leave
# unused
AT_ONCE = 1.3
# bytes a learning parameter adds: gradient and two moments; its average; its half
ADAM, AVERAGE, COPY = 12, 4, 2


@dataclass(frozen=True)
class Needs:
    """What a model asks for, learning as it is frozen.

    forward, step: operations (a multiplication and an addition are two) of a forward of one image,
    and of forward and backward. activations: bytes kept for backward for one image, in single
    precision.
    """

    parameters: int
    learned: int
    forward: int
    step: int
    activations: int

    def bytes_kept(self, precision: torch.dtype) -> int:
        """Of one image's activations, in the precision of a stage."""
        return int(self.activations * (1.0 if precision == torch.float32 else HALF))

    def bytes_of(self, images: int, precision: torch.dtype, averaged: bool) -> int:
        """About the most memory that a step with `images` in a forward takes, the model's weights
        not counted.

        averaged: with EMA weights.
        """
        copies = 0 if precision == torch.float32 else COPY * self.parameters
        fixed = self.learned * (ADAM + AVERAGE * averaged) + copies
        return int(fixed + images * AT_ONCE * self.bytes_kept(precision))

    def images_in(self, free: int, precision: torch.dtype, averaged: bool) -> int:
        """About how many images a forward may have in `free` bytes; 0 if not even one fits."""
        fixed, with_one = (self.bytes_of(images, precision, averaged) for images in (0, 1))
        return max(0, (free - fixed) // (with_one - fixed))


class _AsOnDevices(TorchFunctionMode):
    """Two things that meta tensors do otherwise. transformers' layers look for overflow in
    training, which they cannot answer; and attention keeps its products, where CPUs and GPUs
    compute them again in backward.
    """

    @override
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.isfinite:
            return torch.ones((), device="cpu", dtype=torch.bool)
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, *rest: Any, **settings: Any
) -> Tensor:
    # Swin's, for which CPUs have no such kernel either
    learned = attn_mask is not None and attn_mask.requires_grad
    if learned or query.shape[-1] != value.shape[-1]:
        return F.scaled_dot_product_attention(query, key, value, attn_mask, *rest, **settings)
    mask = attn_mask.to(query.dtype) if attn_mask is not None else None
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, attn_mask=mask
    )[0]


class _Counted(TorchDispatchMode):
    """Counts operations by torch's own formulas.

    Its FlopCounterMode fails where frozen parts feed those that learn.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations = 0

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.operations += formula(*args, **(kwargs or {}), out_val=out)
        return out


def needs(chain: Chain, objects: int) -> Needs:
    """What one image with `objects` objects asks for, with all that its loss asks about: masks of
    the matched queries, or regions.

    As is customary, operations are those of products and convolutions, attention included; what is
    computed element by element, sampled (deformable attention reads four cells a point) or sorted
    (matching) is not counted.
    """
    family, spec = models.get(chain.spec.family), chain.spec
    with torch.device("meta"):
        # some tensors ignore the device they are built on
        ghost = family.build(spec, masks=chain.has_masks).to("meta")
    ghost.freeze_to(chain.frozen_to)
    images = {"images": torch.zeros(1, len(spec.channels), *family.input_size(spec), device="meta")}
    weights = {tensor.untyped_storage()._cdata for tensor in ghost.state_dict().values()}
    held: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            held[storage._cdata] = storage.nbytes()
        return tensor

    def run() -> list[Tensor]:
        state = ghost(images)
        loss_tensors = family.predictions(ghost, state).mask_loss_tensors(
            objects, spec.options.get("points")
        )
        return [
            value
            for value in (*state.values(), *loss_tensors)
            if isinstance(value, Tensor) and value.requires_grad
        ]

    with torch.device("meta"), _AsOnDevices():
        with torch.no_grad(), _Counted() as forward:
            ghost.eval()
            run()
        ghost.train()
        with _Counted() as step:
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                learned = run()
            torch.stack([value.float().sum() for value in learned]).sum().backward()
    parameters, learns = (
        sum(p.numel() for p in ghost.parameters() if p.requires_grad or every)
        for every in (True, False)
    )
    return Needs(parameters, learns, forward.operations, step.operations, sum(held.values()))


def free_bytes(device: str) -> int | None:
    """Memory that a device has left; None where the system does not say."""
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    with suppress(OSError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(
            (int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None
        )
    return None


class Peak:
    """The most memory this process has used since this was made: of the GPU it trains on, or else
    of the machine.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        if device.startswith("cuda"):
            # of a GPU with a number there are no statistics before that, only an error
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(device)
        else:
            # not Linux, or not allowed: then since the process began, or not known
            with suppress(OSError):
                Path("/proc/self/clear_refs").write_text("5")

    def bytes(self) -> int | None:
        if self.device.startswith("cuda"):
            return torch.cuda.max_memory_allocated(self.device)
        with suppress(OSError):
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(
                (int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), None
            )
        return None
