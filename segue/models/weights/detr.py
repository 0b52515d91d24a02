"""DETR weights as people have them: facebookresearch/detr's, transformers', Lightning's, and timm's
for the backbone.

A Lightning file wraps one of the others. Plain DETR's class head has a last row for "no object",
which is a head of its own here. Of a backbone alone, what belongs to its classifier is left behind.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from segue.errors import CheckpointError
from segue.models import ModelSpec
from segue.models.weights import ModelWeights, foreign
from segue.models.weights.card import card_in
from segue.models.weights.coco_rows import COCO_ROWS
from segue.models.weights.renaming import Rule, split_attention, to_ours

FACEBOOK: list[Rule] = [
    ("^backbone.net.", "^backbone.0.body."),
    ("^encoder.input_proj.", "^input_proj."),
    ("^encoder.transformer.", "^transformer.encoder."),
    ("^decoder.transformer.", "^transformer.decoder."),
    ("^encoder.transformer.layers.{}.final_layer_norm.", "^encoder.transformer.layers.{}.norm2."),
    (
        "^decoder.transformer.layers.{}.encoder_attn_layer_norm.",
        "^decoder.transformer.layers.{}.norm2.",
    ),
    ("^decoder.transformer.layers.{}.final_layer_norm.", "^decoder.transformer.layers.{}.norm3."),
    (".self_attn_layer_norm.", ".norm1."),
    (".encoder_attn.", ".multihead_attn."),
    (".o_proj.", ".out_proj."),
    (".mlp.fc{}.", ".linear{}."),
    ("^decoder.transformer.layernorm.", "^decoder.transformer.norm."),
    ("^decoder.query_positions.", "^query_embed."),
    ("^decoder.class_head.", "^class_embed."),
    ("^decoder.box_head.", "^bbox_embed."),
]
# What save_pretrained writes, and the names within transformers 5.23; both are found in files.
TRANSFORMERS: list[Rule] = [
    ("^backbone.net.", "^model.backbone.conv_encoder.model."),
    ("^backbone.net.", "^model.backbone.model."),
    ("^encoder.input_proj.", "^model.input_projection."),
    ("^encoder.transformer.", "^model.encoder."),
    ("^decoder.transformer.", "^model.decoder."),
    ("^decoder.query_positions.", "^model.query_position_embeddings."),
    ("^decoder.class_head.", "^class_labels_classifier."),
    ("^decoder.box_head.", "^bbox_predictor."),
    (".o_proj.", ".out_proj."),
    (".layers.{}.mlp.fc{}.", ".layers.{}.fc{}."),
    (".self_attn.v_proj.", ".sa_v_proj."),
    (".encoder_attn.v_proj.", ".ca_v_proj."),
    (".encoder_attn.q_pos_sine_proj.", ".ca_qpos_sine_proj."),
    *(
        (f".{attention}.{letter}_{kind}_proj.", f".{short}_{letter}{kind}_proj.")
        for attention, short in (("self_attn", "sa"), ("encoder_attn", "ca"))
        for letter in "qk"
        for kind in ("content", "pos")
    ),
]
CLASSIFIER = re.compile(r"^(fc|head|classifier|head_dist|mask_token)(\.|$)")
KEY = "decoder.query_positions.weight"


@foreign.reader
def read(path: Path) -> ModelWeights:
    """Weights from a file (.pth, .pt, .ckpt) or a folder of transformers or timm, under our names.

    Raises:
        CheckpointError: if it cannot be read safely, or is neither DETR nor a backbone.
    """
    if path.is_dir():
        theirs, source = foreign.read_folder(path)
        digest = next((foreign.sha256(p) for p in sorted(path.glob("*.safetensors"))), "")
    else:
        source = foreign.read_pickle(path)
        theirs, digest = foreign.state_dict(source, path), foreign.sha256(path)
    tensors = our_names(
        {name: t for name, t in theirs.items() if not name.endswith("num_batches_tracked")}
    )
    first = next(
        (t for name, t in tensors.items() if name.startswith("backbone.net.") and t.dim() == 4),
        None,
    )
    if first is None:
        names = ", ".join(sorted(theirs)[:3])
        raise CheckpointError(
            path, f"neither DETR nor a backbone ({names}, ...)", "weights of family detr"
        )
    classes = _split_rows(tensors, source) if KEY in tensors else ()
    known = source.get("hyper_parameters")
    spec = known.get("model") if isinstance(known, dict) else None
    ours = spec if isinstance(spec, dict) and ModelSpec.model_fields.keys() <= spec.keys() else None
    names = [channel["name"] for channel in ours["channels"]] if ours else []
    return ModelWeights(
        tensors={name: tensor.float() for name, tensor in tensors.items()},
        classes=classes,
        channels=tuple(
            names
            or ("r", "g", "b", *(f"channel_{i}" for i in range(3, first.shape[1])))[
                : first.shape[1]
            ]
        ),
        source=str(path),
        came_from={"source": path.name, "weights_sha256": digest},
        card=card_in(path, ours, data=foreign.category_ids(known)) if ours else None,
    )


def our_names(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Any of the layouts under our names; names that belong to none are kept, so that a hand-over
    reports them.
    """
    if any(name.startswith("transformer.decoder.") for name in theirs):
        return to_ours(split_attention(theirs), FACEBOOK)
    if "class_labels_classifier.weight" in theirs:
        return to_ours(theirs, TRANSFORMERS)
    if KEY in theirs:
        return dict(theirs)
    return {f"backbone.net.{name}": t for name, t in theirs.items() if not CLASSIFIER.search(name)}


def _split_rows(tensors: dict[str, Tensor], source: dict[str, Any]) -> tuple[str | None, ...]:
    """Make the row for "no object" a head of its own, in place, and say what the others mean; None
    where unknown.
    """
    plain = "decoder.transformer.ref_point_head.layers.0.weight" not in tensors
    if plain and "decoder.no_object.weight" not in tensors:
        for kind in ("weight", "bias"):
            rows = tensors[f"decoder.class_head.{kind}"]
            tensors[f"decoder.class_head.{kind}"], tensors[f"decoder.no_object.{kind}"] = (
                rows[:-1],
                rows[-1:],
            )
    rows = len(tensors["decoder.class_head.weight"])
    for entry in (source, source.get("hyper_parameters"), source.get("args")):
        names = (
            (entry.get("class_names") or entry.get("id2label")) if isinstance(entry, dict) else None
        )
        if isinstance(names, dict):
            names = [names.get(row, names.get(str(row))) for row in range(rows)]
        if (
            names
            and len(names) == rows
            and not all(re.fullmatch(r"LABEL_\d+", str(name)) for name in names)
        ):
            # hub folders name COCO's unused ids so
            return tuple(None if name == "N/A" else name for name in names)
    return COCO_ROWS if rows == len(COCO_ROWS) else (None,) * rows


def layout_of(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What tensors under our names say about their model; what belongs to a part that is not there
    is left out.
    """
    layout: dict[str, Any] = {}
    if KEY in tensors:
        layout["queries"], layout["width"] = tensors[KEY].shape
        conditional = "decoder.transformer.ref_point_head.layers.0.weight" in tensors
        layout["decoder"] = "conditional" if conditional else "plain"
    return layout
