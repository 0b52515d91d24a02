"""The tensor names of facebookresearch/Mask2Former, apart from the table that reads them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from segue.models import mask2former


def facebooks_names(peer: nn.Module) -> dict[str, Tensor]:
    """The peer's tensors as facebookresearch/Mask2Former@9b0651c and detectron2 save them."""
    theirs: dict[str, Tensor] = {}
    ours = {name.removeprefix("model."): tensor for name, tensor in peer.state_dict().items()}
    swin, head = "pixel_level_module.encoder.", "sem_seg_head."
    fixed = {
        f"{swin}swin.embeddings.patch_embeddings.projection": "backbone.patch_embed.proj",
        f"{swin}swin.embeddings.norm": "backbone.patch_embed.norm",
        "pixel_level_module.decoder.mask_projection": f"{head}pixel_decoder.mask_features",
        "transformer_module.decoder.layernorm": f"{head}predictor.decoder_norm",
        "transformer_module.queries_features": f"{head}predictor.query_feat",
        "transformer_module.queries_embedder": f"{head}predictor.query_embed",
        "transformer_module.level_embed": f"{head}predictor.level_embed",
        "class_predictor": f"{head}predictor.class_embed",
    }
    for module, name in fixed.items():
        kinds = [kind for kind in ("weight", "bias") if f"{module}.{kind}" in ours]
        theirs |= {f"{name}.{kind}": ours[f"{module}.{kind}"] for kind in kinds}
    theirs[f"{head}pixel_decoder.transformer.level_embed"] = ours[
        "pixel_level_module.decoder.level_embed"
    ]

    def copy(new: str, old: str) -> None:
        for kind in ("weight", "bias"):
            if f"{old}.{kind}" in ours:
                theirs[f"{new}.{kind}"] = ours[f"{old}.{kind}"]

    def stack(new: str, old: str, letters: tuple[str, ...]) -> None:
        for kind in ("weight", "bias"):
            theirs[f"{new}{kind}"] = torch.cat(
                [ours[f"{old}.{letter}_proj.{kind}"] for letter in letters]
            )

    for stage, depth in enumerate(mask2former.SIZES["pico"].depths):
        for number in range(depth):
            new = f"backbone.layers.{stage}.blocks.{number}"
            old = f"{swin}swin.encoder.layers.{stage}.blocks.{number}"
            stack(f"{new}.attn.qkv.", f"{old}.attention", ("q", "k", "v"))
            copy(f"{new}.attn.proj", f"{old}.attention.o_proj")
            table = ours[f"{old}.attention.relative_position_bias.relative_position_bias_table"]
            theirs[f"{new}.attn.relative_position_bias_table"] = table
            theirs[f"{new}.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.int64)
            for here, there in (("norm1", "layernorm_before"), ("norm2", "layernorm_after")):
                copy(f"{new}.{here}", f"{old}.{there}")
            for layer in ("fc1", "fc2"):
                copy(f"{new}.mlp.{layer}", f"{old}.mlp.{layer}")
        copy(f"backbone.norm{stage}", f"{swin}hidden_states_norms.stage{stage + 1}")
        for part in ("reduction", "norm"):
            copy(
                f"backbone.layers.{stage}.downsample.{part}",
                f"{swin}swin.encoder.layers.{stage}.downsample.{part}",
            )
    for i in range(3):
        for part in "01":
            copy(
                f"{head}pixel_decoder.input_proj.{i}.{part}",
                f"pixel_level_module.decoder.input_projections.{i}.{part}",
            )
    for kind in ("adapter_1", "layer_1"):
        copy(f"{head}pixel_decoder.{kind}", f"pixel_level_module.decoder.{kind}.0")
        copy(f"{head}pixel_decoder.{kind}.norm", f"pixel_level_module.decoder.{kind}.1")
    for i in range(2):
        new = f"{head}pixel_decoder.transformer.encoder.layers.{i}"
        old = f"pixel_level_module.decoder.encoder.layers.{i}"
        for part in ("sampling_offsets", "attention_weights", "value_proj", "output_proj"):
            copy(f"{new}.self_attn.{part}", f"{old}.self_attn.{part}")
        pairs = {
            "norm1": "self_attn_layer_norm",
            "linear1": "fc1",
            "linear2": "fc2",
            "norm2": "final_layer_norm",
        }
        for here, there in pairs.items():
            copy(f"{new}.{here}", f"{old}.{there}")
    for i in range(3):
        new, old = f"{head}predictor.transformer_", f"transformer_module.decoder.layers.{i}"
        stack(
            f"{new}self_attention_layers.{i}.self_attn.in_proj_",
            f"{old}.self_attn",
            ("q", "k", "v"),
        )
        copy(f"{new}self_attention_layers.{i}.self_attn.out_proj", f"{old}.self_attn.out_proj")
        copy(f"{new}self_attention_layers.{i}.norm", f"{old}.self_attn_layer_norm")
        for kind in ("in_proj_weight", "in_proj_bias"):
            theirs[f"{new}cross_attention_layers.{i}.multihead_attn.{kind}"] = ours[
                f"{old}.cross_attn.{kind}"
            ]
        copy(
            f"{new}cross_attention_layers.{i}.multihead_attn.out_proj", f"{old}.cross_attn.out_proj"
        )
        copy(f"{new}cross_attention_layers.{i}.norm", f"{old}.cross_attn_layer_norm")
        for here, there in {"linear1": "fc1", "linear2": "fc2", "norm": "final_layer_norm"}.items():
            copy(f"{new}ffn_layers.{i}.{here}", f"{old}.{there}")
        copy(
            f"{head}predictor.mask_embed.layers.{i}",
            f"transformer_module.decoder.mask_predictor.mask_embedder.{i}.0",
        )
    theirs[f"{head}criterion.empty_weight"] = torch.ones(4)
    return {
        name.replace(f"{head}criterion", "criterion"): tensor.clone()
        for name, tensor in theirs.items()
    }
