"""RF-DETR weights in the layouts of the `rfdetr` package and of `transformers`, read and written.

rfdetr files are {"model": tensors, "args": dict or Namespace, ...}. Their class heads have a row
more than there are classes: for COCO the row number is the category id (1..90 of 91), for own data
the last row is never used. transformers folders have our rows, named by id2label.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segue.errors import CheckpointError
from segue.models.weights import ModelWeights, foreign
from segue.models.weights.coco_rows import COCO_ROWS
from segue.models.weights.renaming import join_attention, split_attention, to_ours, to_theirs

RFDETR = [
    ("^backbone.vit.", "^backbone.0.encoder.encoder."),
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    ("^projector.levels.{}.fuse.conv1.", "^backbone.0.projector.stages.{}.0.cv1."),
    ("^projector.levels.{}.fuse.conv2.", "^backbone.0.projector.stages.{}.0.cv2."),
    (
        "^projector.levels.{}.fuse.bottlenecks.{}.conv1.",
        "^backbone.0.projector.stages.{}.0.m.{}.cv1.",
    ),
    (
        "^projector.levels.{}.fuse.bottlenecks.{}.conv2.",
        "^backbone.0.projector.stages.{}.0.m.{}.cv2.",
    ),
    ("^projector.levels.{}.norm.", "^backbone.0.projector.stages.{}.1."),
    ("^projector.levels.{}.sample.{}.", "^backbone.0.projector.stages_sampling.{}.{}."),
    (".fuse.conv{}.norm.", ".fuse.conv{}.bn."),
    (".bottlenecks.{}.conv{}.norm.", ".bottlenecks.{}.conv{}.bn."),
    (".sample.{}.{}.norm.", ".sample.{}.{}.bn."),
    # the next five are written as this one leaves them
    ("^decoder.transformer.", "^transformer.decoder."),
    (
        "^decoder.transformer.layers.{}.self_attn_layer_norm.",
        "^decoder.transformer.layers.{}.norm1.",
    ),
    (
        "^decoder.transformer.layers.{}.cross_attn_layer_norm.",
        "^decoder.transformer.layers.{}.norm2.",
    ),
    ("^decoder.transformer.layers.{}.layer_norm.", "^decoder.transformer.layers.{}.norm3."),
    ("^decoder.transformer.layers.{}.mlp.fc{}.", "^decoder.transformer.layers.{}.linear{}."),
    ("^decoder.transformer.layernorm.", "^decoder.transformer.norm."),
    (".self_attn.o_proj.", ".self_attn.out_proj."),
    ("^decoder.proposal_proj.", "^transformer.enc_output."),
    ("^decoder.proposal_norm.", "^transformer.enc_output_norm."),
    ("^decoder.proposal_classes.", "^transformer.enc_out_class_embed."),
    ("^decoder.proposal_boxes.", "^transformer.enc_out_bbox_embed."),
    ("^decoder.class_head.", "^class_embed."),
    ("^decoder.box_head.", "^bbox_embed."),
    ("^decoder.reference_points.", "^refpoint_embed."),
    ("^decoder.query_features.", "^query_feat."),
    ("^mask_head.query_block.mlp.fc1.", "^segmentation_head.query_features_block.layers.0."),
    ("^mask_head.query_block.mlp.fc2.", "^segmentation_head.query_features_block.layers.2."),
    ("^mask_head.query_block.norm.", "^segmentation_head.query_features_block.norm_in."),
    ("^mask_head.blocks.{}.layernorm.", "^segmentation_head.blocks.{}.norm."),
    ("^mask_head.blocks.{}.depthwise_conv.", "^segmentation_head.blocks.{}.dwconv."),
    ("^mask_head.blocks.{}.pointwise_conv.", "^segmentation_head.blocks.{}.pwconv1."),
    ("^mask_head.spatial_proj.", "^segmentation_head.spatial_features_proj."),
    ("^mask_head.query_proj.", "^segmentation_head.query_features_proj."),
    ("^mask_head.bias", "^segmentation_head.bias"),
]
TRANSFORMERS = [
    ("^backbone.vit.", "^backbone.backbone."),
    ("^projector.levels.0.fuse.", "^backbone.projector.projector_layer."),
    ("^projector.levels.0.norm.", "^backbone.projector.layer_norm."),
    ("^decoder.transformer.", "^decoder."),
    ("^decoder.reference_points.", "^reference_point_embed."),
    ("^decoder.query_features.", "^query_feat."),
    ("^decoder.proposal_proj.", "^enc_output."),
    ("^decoder.proposal_norm.", "^enc_output_norm."),
    ("^decoder.proposal_classes.", "^enc_out_class_embed."),
    ("^decoder.proposal_boxes.", "^enc_out_bbox_embed."),
    ("^decoder.class_head.", "^class_embed."),
    ("^decoder.box_head.", "^bbox_embed."),
    ("^mask_head.blocks.", "^blocks."),
    ("^mask_head.spatial_proj.", "^spatial_features_proj."),
    ("^mask_head.query_block.", "^query_features_block."),
    ("^mask_head.query_proj.", "^query_features_proj."),
    ("^mask_head.bias", "^segmentation_bias"),
]
POSITIONS = "backbone.vit.embeddings.position_embeddings"
# Buffers of the peers that hold nothing learned.
IGNORED = {"_kp_active_mask"}
UNUSED_BIAS = -20.0  # a row that no image may win


@foreign.reader
def read(path: Path) -> ModelWeights:
    """Weights from a rfdetr file (.pth, .pt, .ckpt) or a transformers folder, under our names.

    Raises:
        CheckpointError: if it cannot be read safely, or is not RF-DETR.
    """
    names: dict[int, str] = {}
    if path.is_dir():
        theirs, config = foreign.read_folder(path)
        names = {int(key): value for key, value in (config.get("id2label") or {}).items()}
        digest = next((foreign.sha256(p) for p in sorted(path.glob("*.safetensors"))), "")
        source: dict[str, Any] = {}
    else:
        source = foreign.read_pickle(path)
        theirs, digest = foreign.state_dict(source, path), foreign.sha256(path)
    tensors = our_names({name: t for name, t in theirs.items() if name not in IGNORED})
    if "decoder.query_features.weight" not in tensors:
        raise CheckpointError(
            path, f"no RF-DETR weights among its {len(theirs)} tensors", "query_feat and others"
        )
    if "decoder.class_head.weight" not in tensors:
        _add_empty_heads(tensors)
    rows = len(tensors["decoder.class_head.weight"])
    classes = tuple(names.get(row) for row in range(rows)) if names else _rows(rows, source)
    channels = tensors["backbone.vit.embeddings.patch_embeddings.projection.weight"].shape[1]
    return ModelWeights(
        tensors={name: tensor.float() for name, tensor in tensors.items()},
        classes=classes,
        channels=("r", "g", "b")
        if channels == 3
        else tuple(f"channel_{i}" for i in range(channels)),
        source=str(path),
        came_from={"source": path.name, "weights_sha256": digest},
    )


def layout_of(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What tensors under our names say about their model: groups, queries, cells of the position
    table, mask_head.

    What belongs to a part that is not there is left out.
    """
    layout: dict[str, Any] = {}
    if "decoder.query_features.weight" in tensors:
        layout["groups"] = sum(
            re.fullmatch(r"decoder\.proposal_proj\.\d+\.weight", n) is not None for n in tensors
        )
        layout["queries"] = len(tensors["decoder.query_features.weight"]) // layout["groups"]
    if POSITIONS in tensors:
        layout["cells"] = math.isqrt(tensors[POSITIONS].shape[1] - 1)
    if any(name.startswith("mask_head.") for name in tensors):
        dot, stem = (
            "mask_head.blocks.0.layernorm.weight" in tensors,
            "mask_head.stem.0.conv.weight" in tensors,
        )
        layout["mask_head"] = "dot" if dot else "attention" if stem else "attention-nano"
    return layout


def resample_positions(weights: dict[str, Tensor], cells: int) -> list[str]:
    """Fit the table of position embeddings, in place, to `cells` x `cells` patches; say so if it
    had others.

    As the backbone itself does for an image of another size, so that boxes are those it would give
    anyway.
    """
    have = layout_of(weights).get("cells", cells)
    if have == cells:
        return []
    first, grid = (
        weights[POSITIONS][:, :1],
        weights[POSITIONS][:, 1:].unflatten(1, (have, have)).permute(0, 3, 1, 2),
    )
    grid = F.interpolate(grid.float(), size=(cells, cells), mode="bicubic", antialias=True)
    weights[POSITIONS] = torch.cat([first, grid.flatten(2).transpose(1, 2)], 1)
    return [f"position embeddings {have}x{have} -> {cells}x{cells}, as the resolution changes"]


def _add_empty_heads(tensors: dict[str, Tensor]) -> None:
    """Class heads of no rows, for a file whose heads were stripped."""
    width, groups = tensors["decoder.query_features.weight"].shape[1], layout_of(tensors)["groups"]
    for head in (
        "decoder.class_head",
        *(f"decoder.proposal_classes.{group}" for group in range(groups)),
    ):
        tensors[f"{head}.weight"], tensors[f"{head}.bias"] = torch.zeros(0, width), torch.zeros(0)


def our_names(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Either layout under our names; names that belong to neither are kept, so that a hand-over
    reports them.
    """
    if any(name.startswith(("backbone.0.", "transformer.")) for name in theirs):
        return to_ours(split_attention(theirs), RFDETR)
    # RfDetrForObjectDetection has one "model." before the network, ...Segmentation two
    for _ in range(2):
        theirs = {re.sub(r"^model\.", "", name): tensor for name, tensor in theirs.items()}
    return to_ours(theirs, TRANSFORMERS)


def _rows(rows: int, source: dict[str, Any]) -> tuple[str | None, ...]:
    """What each class row means: names stored in the file, or COCO's for 91 rows without any.

    Raises:
        CheckpointError: if neither is known.
    """
    if rows == 0:
        return ()
    args = source.get("args") if isinstance(source.get("args"), dict) else {}
    config = source.get("model_config") if isinstance(source.get("model_config"), dict) else {}
    names = source.get("class_names") or args.get("class_names") or config.get("class_names")
    if isinstance(names, dict):
        names = [names[key] for key in sorted(names)]
    if names:
        return (*names, *[None] * rows)[:rows]
    if rows == len(COCO_ROWS):
        return COCO_ROWS
    raise CheckpointError(
        "class rows", f"{rows} rows and no class_names in the file", "names, or COCO's 91 rows"
    )


def rfdetr_file(
    tensors: dict[str, Tensor], classes: tuple[str, ...], args: dict[str, Any]
) -> dict[str, Any]:
    """What `torch.save` must write so that the rfdetr package loads it: an unused class row is
    added at the end.

    tensors: under our names. args: further entries of its "args", such as num_queries and
    resolution.
    """
    theirs = to_theirs(join_attention(tensors, "self_attn"), RFDETR)
    for name, tensor in theirs.items():
        if re.search(r"class_embed\.(\d+\.)?(weight|bias)$", name):
            filler = UNUSED_BIAS if name.endswith("bias") else 0.0
            theirs[name] = torch.cat([tensor, tensor.new_full((1, *tensor.shape[1:]), filler)])
    named = {"num_classes": len(classes), "class_names": list(classes)}
    return {
        "model": theirs,
        "args": {**args, **named},
        "model_config": {**args, "num_classes": len(classes)},
    }
