"""Outputs of the frozen parts, computed once and kept on disk, because they are a pure function of
the input.

A record is one view of one image: the tensors that the learning parts read, in half precision,
memory-mapped, and the view's target. K views are filled before the stage's first step, always in
the same order and portions, so that a killed fill goes on and the bits do not depend on it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor
from torch.utils.data import Dataset
from typing_extensions import override

from segue.base.settings import Settings
from segue.data.pipeline.samples import Position, Sample, Samples
from segue.errors import NonFiniteError
from segue.models.parts.chain import Chain
from segue.structures.masks import PackedMasks
from segue.structures.seeds import seed_for
from segue.structures.target import Target, collate
from segue.training import disk

INDEX, TARGETS, KEY = "index.json", "targets.bin", "key.json"
MOST_OF_DISK = 0.5


class Cache(Settings):
    """Keep the frozen parts' outputs for `views` random views of each image, reused in turn over
    the epochs.
    """

    views: int = Field(8, ge=1)


@dataclass(frozen=True)
class CachedSamples(Dataset[Sample]):
    """Samples whose inputs were computed before: the same positions, the frozen parts' outputs
    instead of images.
    """

    samples: Samples
    folder: Path
    shapes: dict[str, tuple[int, ...]]
    offsets: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.samples)

    @override
    def __getitem__(self, position: Position) -> Sample:
        epoch, index = position
        record = (epoch % (self.samples.views or 1)) * len(self.samples) + index
        inputs = {}
        for name, shape in self.shapes.items():
            count = len(self.offsets) - 1
            stored = np.memmap(
                self.folder / f"{name}.f16", dtype=np.float16, mode="r", shape=(count, *shape)
            )
            inputs[name] = torch.from_numpy(np.array(stored[record])).float()
        start, stop = self.offsets[record : record + 2]
        with (self.folder / TARGETS).open("rb") as file:
            file.seek(start)
            target = target_from(file.read(stop - start))
        target.key = seed_for(self.samples.seed, "points", epoch, index)
        return inputs, target


def worth_it(cache: Cache, epochs: int, record_bytes: int, records: int, folder: Path) -> str:
    """Empty if the cache pays, else why it does not."""
    if epochs <= cache.views:
        return f"cache off: {epochs} epochs would use each of the {cache.views} views at most once"
    if (folder / "cache" / KEY).is_file():
        return ""  # begun before, and what it has written since is not a reason against it
    size, free = record_bytes * records * cache.views, disk.free(folder)
    if size > free * MOST_OF_DISK:
        return f"cache off: {size / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free; lower cache.views"
    return ""


def record_bytes(chain: Chain, samples: Samples, device: str) -> int:
    """Bytes of one record's tensors, found out on the first image."""
    with torch.no_grad():
        outputs = chain.prefix(collate([samples[(0, 0)]]).to(device).inputs)
    return sum(tensor[0].numel() for tensor in outputs.values()) * 2


def fill(
    chain: Chain,
    samples: Samples,
    folder: Path,
    key: dict[str, Any],
    images_per_forward: int,
    device: str,
    tick: Callable[[int, int], None],
) -> CachedSamples:
    """Compute all records that are not there yet and return the samples that read them.

    key: everything the records depend on; a cache made with another key is thrown away. tick(done,
    total) is called after each portion and may stop by raising; the next fill goes on from there.

    Raises:
        TrainingError: if the disk is full; the next fill goes on from there, too.
        NonFiniteError: if an output has no number in half precision.
    """
    chain.eval()
    count = (samples.views or 1) * len(samples)
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    if not (folder / KEY).is_file() or (folder / KEY).read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / KEY).write_text(digest)
    index = (
        json.loads((folder / INDEX).read_text())
        if (folder / INDEX).is_file()
        else {"offsets": [0], "shapes": {}}
    )
    offsets: list[int] = index["offsets"]
    while len(offsets) <= count:
        first = len(offsets) - 1
        portion = range(first, min(first + images_per_forward, count))
        batch = collate([samples[divmod(i, len(samples))] for i in portion])
        with torch.no_grad():
            outputs = {
                name: t.half().cpu() for name, t in chain.prefix(batch.to(device).inputs).items()
            }
        _refuse_too_large(folder, outputs)
        index["shapes"] = {name: list(t.shape[1:]) for name, t in outputs.items()}
        try:
            _write(folder, index, outputs, batch.targets)
        except OSError as error:
            left = sum(t[0].nbytes for t in outputs.values()) * (count - first)
            raise disk.full(
                folder, f"{first} of {count} records are cached", error, left, "lower cache.views"
            ) from None
        tick(len(offsets) - 1, count)
    shapes = {name: tuple(shape) for name, shape in index["shapes"].items()}
    return CachedSamples(samples, folder, shapes, tuple(offsets))


def _refuse_too_large(folder: Path, outputs: dict[str, Tensor]) -> None:
    """Nothing infinite is kept: half precision ends at 65504."""
    for name, tensor in outputs.items():
        if not bool(tensor.isfinite().all()):
            message = (
                f"{name}, which the frozen parts put out, holds values that half precision "
                "has no number for"
            )
            raise NonFiniteError(
                folder, message, "finite values up to 65504", "the stage without cache:"
            )


def _write(
    folder: Path, index: dict[str, Any], outputs: dict[str, Tensor], targets: list[Target]
) -> None:
    """Add records to the files and, when they are there, to the index.

    Plain writing, because a process that writes to mapped memory is killed (SIGBUS) when the disk
    is full.

    Raises:
        OSError: if it is; the index is as before.
    """
    offsets = index["offsets"]
    for name, tensor in outputs.items():
        path = folder / f"{name}.f16"
        with path.open("r+b" if path.exists() else "w+b") as file:
            file.seek((len(offsets) - 1) * tensor[0].nbytes)
            file.write(tensor.contiguous().numpy().data)
            _flush(file)
    offsets += _append_targets(folder / TARGETS, offsets[-1], targets)
    staging = folder / (INDEX + ".writing")
    staging.write_text(json.dumps(index))
    staging.replace(folder / INDEX)


def _append_targets(path: Path, start: int, targets: Iterable[Target]) -> list[int]:
    """Write targets from byte `start` on, cutting off what a killed fill left there; returns where
    each ends.
    """
    ends = []
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.truncate(start)
        file.seek(start)
        for target in targets:
            file.write(target_bytes(target))
            ends.append(file.tell())
        _flush(file)
    return ends


def _flush(file: BinaryIO) -> None:
    """What the index names must be on the disk before the index is, also when the power fails."""
    file.flush()
    os.fsync(file.fileno())


def target_bytes(target: Target) -> bytes:
    tensors = {
        "labels": target.labels,
        "boxes_cxcywh": target.boxes_cxcywh,
        "has_mask": target.has_mask,
        "weights": target.object_weights,  # its name in files since 0.1.0
    }
    if target.unexplained is not None:
        tensors["unexplained"] = target.unexplained
    if target.masks is not None:
        packed = PackedMasks.cat([target.masks])
        tensors |= {f"masks.{name}": tensor for name, tensor in packed.tensors().items()}
    position = torch.tensor([target.record, *target.size])
    return save_tensors({**{n: t.contiguous() for n, t in tensors.items()}, "position": position})


def target_from(data: bytes) -> Target:
    tensors: dict[str, Any] = load_tensors(data)
    record, height, width = tensors.pop("position").tolist()
    masks = {
        name.removeprefix("masks."): tensors.pop(name)
        for name in list(tensors)
        if name.startswith("masks.")
    }
    tensors["object_weights"] = tensors.pop("weights")
    target = Target(**tensors, record=record, size=(height, width))
    return replace(target, masks=PackedMasks(**masks)) if masks else target
