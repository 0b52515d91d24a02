"""Mask2Former weights as people have them: facebookresearch/Mask2Former's, transformers', and
Swin's alone.

The class head's last row is "no object", a head of its own here. Detectron2's model zoo keeps numpy
arrays in a plain pickle (.pkl), its trainer tensors in a .pth.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segue.errors import CheckpointError
from segue.models import ModelSpec
from segue.models.weights import ModelWeights, arrays, foreign
from segue.models.weights.card import card_in
from segue.models.weights.coco_rows import COCO_ROWS
from segue.models.weights.renaming import Rule, join_attention, split_attention, to_ours, to_theirs

KEY, POSITIONS = (
    "decoder.transformer.queries_features.weight",
    "decoder.transformer.queries_embedder.weight",
)
BLOCK = ".layers.{}.blocks.{}."
LAYERS = "^decoder.transformer.decoder.layers.{}."
PREDICTOR = "^sem_seg_head.predictor."

# facebookresearch/Mask2Former@9b0651c, after attention was split; microsoft's Swin has the
# backbone's names.
DETECTRON: list[Rule] = [
    ("^backbone.net.swin.embeddings.patch_embeddings.projection.", "^backbone.patch_embed.proj."),
    ("^backbone.net.swin.embeddings.norm.", "^backbone.patch_embed.norm."),
    ("^backbone.net.swin.encoder.layers.", "^backbone.layers."),
    (f"{BLOCK}attention.", f"{BLOCK}attn."),
    (
        ".attention.relative_position_bias.relative_position_bias_table",
        ".attention.relative_position_bias_table",
    ),
    (f"{BLOCK}attention.o_proj.", f"{BLOCK}attention.proj."),
    (f"{BLOCK}layernorm_before.", f"{BLOCK}norm1."),
    (f"{BLOCK}layernorm_after.", f"{BLOCK}norm2."),
    *(
        (f"^backbone.net.hidden_states_norms.stage{i + 1}.", f"^backbone.norm{i}.")
        for i in range(4)
    ),
    ("^pixel_decoder.net.", "^sem_seg_head.pixel_decoder.transformer."),
    ("^pixel_decoder.net.input_projections.", "^sem_seg_head.pixel_decoder.input_proj."),
    ("^pixel_decoder.net.mask_projection.", "^sem_seg_head.pixel_decoder.mask_features."),
    *(
        rule
        for kind in ("adapter", "layer")
        for rule in (
            (
                f"^pixel_decoder.net.{kind}_{{}}.1.",
                f"^sem_seg_head.pixel_decoder.{kind}_{{}}.norm.",
            ),
            (f"^pixel_decoder.net.{kind}_{{}}.0.", f"^sem_seg_head.pixel_decoder.{kind}_{{}}."),
        )
    ),
    (
        "^pixel_decoder.net.encoder.layers.{}.self_attn_layer_norm.",
        "^pixel_decoder.net.encoder.layers.{}.norm1.",
    ),
    (
        "^pixel_decoder.net.encoder.layers.{}.final_layer_norm.",
        "^pixel_decoder.net.encoder.layers.{}.norm2.",
    ),
    (
        "^pixel_decoder.net.encoder.layers.{}.fc{}.",
        "^pixel_decoder.net.encoder.layers.{}.linear{}.",
    ),
    (f"{LAYERS}self_attn_layer_norm.", f"{PREDICTOR}transformer_self_attention_layers.{{}}.norm."),
    (f"{LAYERS}self_attn.", f"{PREDICTOR}transformer_self_attention_layers.{{}}.self_attn."),
    (
        f"{LAYERS}cross_attn_layer_norm.",
        f"{PREDICTOR}transformer_cross_attention_layers.{{}}.norm.",
    ),
    (f"{LAYERS}cross_attn.", f"{PREDICTOR}transformer_cross_attention_layers.{{}}.multihead_attn."),
    (f"{LAYERS}final_layer_norm.", f"{PREDICTOR}transformer_ffn_layers.{{}}.norm."),
    (f"{LAYERS}fc{{}}.", f"{PREDICTOR}transformer_ffn_layers.{{}}.linear{{}}."),
    ("^decoder.transformer.decoder.layernorm.", f"{PREDICTOR}decoder_norm."),
    (
        "^decoder.transformer.decoder.mask_predictor.mask_embedder.{}.0.",
        f"{PREDICTOR}mask_embed.layers.{{}}.",
    ),
    (f"^{KEY}", f"{PREDICTOR}query_feat.weight"),
    (f"^{KEY}", f"{PREDICTOR}static_query.weight"),  # as it was called at first
    (f"^{POSITIONS}", f"{PREDICTOR}query_embed.weight"),
    ("^decoder.transformer.level_embed.", f"{PREDICTOR}level_embed."),
    ("^decoder.class_head.", f"{PREDICTOR}class_embed."),
]
WRITTEN = [rule for rule in DETECTRON if "static_query" not in rule[1]]
# What save_pretrained writes, for the whole and for SwinModel alone.
SWIN: list[Rule] = [
    (
        ".attention.relative_position_bias.relative_position_bias_table",
        ".attention.self.relative_position_bias_table",
    ),
    (".attention.q_proj.", ".attention.self.query."),
    (".attention.k_proj.", ".attention.self.key."),
    (".attention.v_proj.", ".attention.self.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (f"{BLOCK}mlp.fc1.", f"{BLOCK}intermediate.dense."),
    (f"{BLOCK}mlp.fc2.", f"{BLOCK}output.dense."),
]
TRANSFORMERS: list[Rule] = [
    ("^backbone.net.swin.embeddings.", "^model.pixel_level_module.encoder.embeddings."),
    ("^backbone.net.swin.encoder.", "^model.pixel_level_module.encoder.encoder."),
    ("^backbone.net.", "^model.pixel_level_module.encoder."),
    ("^pixel_decoder.net.", "^model.pixel_level_module.decoder."),
    ("^decoder.transformer.", "^model.transformer_module."),
    ("^decoder.class_head.", "^class_predictor."),
    *SWIN,
]
UNUSED = re.compile(
    r"relative_position_index$|attn_mask$|^criterion\.|swin\.layernorm\.|num_batches_tracked$"
)
CLASSIFIER = re.compile(r"^(head|classifier|norm|layernorm|swin\.layernorm)\.")


@foreign.reader
def read(path: Path) -> ModelWeights:
    """Weights from a file (.pkl, .pth, .pt) or a folder of transformers, under our names.

    Raises:
        CheckpointError: if it cannot be read safely, or is neither Mask2Former nor Swin.
    """
    content: dict[str, Any] = {}
    if path.is_dir():
        theirs, content = foreign.read_folder(path)
        digest = next((foreign.sha256(p) for p in sorted(path.glob("*.safetensors"))), "")
    else:
        content = arrays.read_arrays(path) if path.suffix == ".pkl" else foreign.read_pickle(path)
        theirs = foreign.state_dict(content, path)
        digest = foreign.sha256(path)
    tensors = our_names(
        {name: tensor for name, tensor in theirs.items() if not UNUSED.search(name)}
    )
    first = tensors.get("backbone.net.swin.embeddings.patch_embeddings.projection.weight")
    if first is None:
        names = ", ".join(sorted(theirs)[:3])
        raise CheckpointError(
            path, f"neither Mask2Former nor Swin ({names}, ...)", "weights of family mask2former"
        )
    classes = _split_rows(tensors, content) if KEY in tensors else ()
    spec = content.get("segue")
    ours = spec if isinstance(spec, dict) and ModelSpec.model_fields.keys() <= spec.keys() else None
    channels = [channel["name"] for channel in ours["channels"]] if ours else ["r", "g", "b"]
    return ModelWeights(
        tensors={name: tensor.float() for name, tensor in tensors.items()},
        classes=classes,
        channels=(*channels, *(f"channel_{i}" for i in range(3, first.shape[1])))[: first.shape[1]],
        source=str(path),
        came_from={"source": path.name, "weights_sha256": digest},
        card=card_in(path, ours, complete=True, data=foreign.category_ids(content))
        if ours
        else None,
    )


def file_of(
    tensors: dict[str, Tensor], spec: ModelSpec, step: int, ids: Mapping[str, int]
) -> dict[str, Any]:
    """What `torch.save` must write so that facebookresearch/Mask2Former loads it, and `read` knows
    all of the model.

    tensors: under our names. ids: of the classes, in the data's files. The row for "no object" is
    the last again.
    """
    ours = dict(tensors)
    for kind in ("weight", "bias"):
        rows = [ours[f"decoder.class_head.{kind}"], ours.pop(f"decoder.no_object.{kind}")]
        ours[f"decoder.class_head.{kind}"] = torch.cat(rows)
    theirs = join_attention(to_theirs(ours, WRITTEN), "attn")
    theirs = {
        re.sub(r"(^backbone\..*\.attn)\.in_proj_", r"\1.qkv.", name): t
        for name, t in theirs.items()
    }
    return {
        "model": theirs,
        "iteration": step,
        "segue": spec.model_dump(mode="json"),
        "category_ids": dict(ids),
    }


def our_names(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Any of the layouts under our names; names that belong to none are kept, so that a hand-over
    reports them.
    """
    if any(name.startswith("sem_seg_head.") for name in theirs):
        return to_ours(_split(theirs), DETECTRON)
    if "class_predictor.weight" in theirs:
        return to_ours(theirs, TRANSFORMERS)
    if KEY in theirs:
        return dict(theirs)
    swin = {name: tensor for name, tensor in theirs.items() if not CLASSIFIER.search(name)}
    if "patch_embed.proj.weight" in swin:  # microsoft/Swin-Transformer
        return to_ours(
            _split({f"backbone.{name}": tensor for name, tensor in swin.items()}), DETECTRON
        )
    return to_ours(
        {f"backbone.net.swin.{n.removeprefix('swin.')}": t for n, t in swin.items()}, SWIN
    )


def _split(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Stacked attention as transformers has it: apart in Swin and among queries, stacked towards
    the image.
    """
    stacked = {n: t for n, t in theirs.items() if ".transformer_cross_attention_layers." in n}
    apart = {n.replace(".qkv.", ".in_proj_"): t for n, t in theirs.items() if n not in stacked}
    return split_attention(apart) | stacked


def _split_rows(tensors: dict[str, Tensor], content: dict[str, Any]) -> tuple[str | None, ...]:
    """Make the row for "no object" a head of its own, in place, and say what the others mean; None
    where unknown.
    """
    if "decoder.no_object.weight" not in tensors:
        for kind in ("weight", "bias"):
            rows = tensors[f"decoder.class_head.{kind}"]
            tensors[f"decoder.class_head.{kind}"], tensors[f"decoder.no_object.{kind}"] = (
                rows[:-1],
                rows[-1:],
            )
    rows = len(tensors["decoder.class_head.weight"])
    if "segue" in content and len(content["segue"].get("classes", ())) == rows:
        return tuple(content["segue"]["classes"])
    named = content.get("id2label") or {}
    names = [named.get(str(row)) for row in range(rows)]
    if all(names) and not all(re.fullmatch(r"LABEL_\d+", str(name)) for name in names):
        return tuple(names)
    coco = tuple(name for name in COCO_ROWS if name is not None)
    return coco if rows == len(coco) else (None,) * rows
