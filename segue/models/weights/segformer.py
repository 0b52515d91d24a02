"""SegFormer encoders (MiT) as people have them: folders of transformers, with today's names and
those before 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from segue.errors import CheckpointError
from segue.models.weights import ModelWeights, foreign
from segue.models.weights.renaming import Rule, to_ours

STREAM = "rgb.streams.0."
FIRST_OF_STREAM = "stages.0.patch_embeddings.proj.weight"
FIRST = STREAM + FIRST_OF_STREAM
BLOCK = f"^{STREAM}stages.{{}}.blocks.{{}}."
OLD_BLOCK = "^encoder.block.{}.{}."

# transformers 4 (and the files on the hub) -> ours, which are transformers 5's behind the name of
# the stream.
OLD: list[Rule] = [
    (f"^{STREAM}stages.{{}}.patch_embeddings.", "^encoder.patch_embeddings.{}."),
    (f"^{STREAM}stages.{{}}.layer_norm.", "^encoder.layer_norm.{}."),
    (f"{BLOCK}layernorm_before.", f"{OLD_BLOCK}layer_norm_1."),
    (f"{BLOCK}layernorm_after.", f"{OLD_BLOCK}layer_norm_2."),
    *((f"{BLOCK}attention.{letter}_proj.", f"{OLD_BLOCK}attention.self.{name}.")
      for letter, name in (("q", "query"), ("k", "key"), ("v", "value"))),
    (f"{BLOCK}attention.o_proj.", f"{OLD_BLOCK}attention.output.dense."),
    (f"{BLOCK}attention.sequence_reduction.sequence_reduction.", f"{OLD_BLOCK}attention.self.sr."),
    (f"{BLOCK}attention.sequence_reduction.layer_norm.", f"{OLD_BLOCK}attention.self.layer_norm."),
    (f"{BLOCK}mlp.fc{{}}.", f"{OLD_BLOCK}mlp.dense{{}}."),
    (f"{BLOCK}mlp.dwconv.", f"{OLD_BLOCK}mlp.dwconv."),
]  # fmt: skip
HEADS = re.compile(r"^(classifier|decode_head)\.")  # of classes of images, or of pixels


@foreign.reader
def read(path: Path) -> ModelWeights:
    """Weights of the stream `rgb` from a transformers folder or a .pth / .bin file of one.

    Raises:
        CheckpointError: if it cannot be read safely, or is no SegFormer.
    """
    if path.is_dir():
        theirs, _ = foreign.read_folder(path)
        digest = next((foreign.sha256(p) for p in sorted(path.glob("*.safetensors"))), "")
    else:
        theirs, digest = foreign.state_dict(foreign.read_pickle(path), path), foreign.sha256(path)
    tensors = our_names({name: tensor for name, tensor in theirs.items() if not HEADS.search(name)})
    if FIRST not in tensors:
        names = ", ".join(sorted(theirs)[:3])
        raise CheckpointError(
            path, f"no SegFormer encoder ({names}, ...)", "weights of MiT, such as nvidia/mit-b0"
        )
    channels = ("r", "g", "b", *(f"channel_{i}" for i in range(3, tensors[FIRST].shape[1])))
    return ModelWeights(
        tensors={name: tensor.float() for name, tensor in tensors.items()},
        classes=(),
        channels=channels[: tensors[FIRST].shape[1]],
        source=str(path),
        came_from={"source": path.name, "weights_sha256": digest},
    )


def our_names(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Either layout under our names; names that belong to none are kept, so that a hand-over
    reports them.
    """
    bare = {name.removeprefix("segformer."): tensor for name, tensor in theirs.items()}
    if any(name.startswith("encoder.") for name in bare):
        return to_ours(bare, OLD)
    return {
        f"{STREAM}{name}" if name.startswith("stages.") else name: tensor
        for name, tensor in bare.items()
    }


def layout_of(tensors: Mapping[str, Tensor]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and depths of the RGB stream's stages; empty if there is none."""
    stages: dict[int, set[int]] = {}
    for name in tensors:
        if match := re.match(re.escape(STREAM) + r"stages\.(\d+)\.blocks\.(\d+)\.", name):
            stages.setdefault(int(match[1]), set()).add(int(match[2]))
    widths = [tensors[f"{STREAM}stages.{i}.layer_norm.weight"].shape[0] for i in sorted(stages)]
    return tuple(widths), tuple(len(stages[i]) for i in sorted(stages))
