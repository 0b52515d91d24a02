"""Translating tensor names between two layouts by one table, in both directions."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

# (ours, theirs); {} stands for a number. A rule replaces what it matches anywhere in a name, in
# this order.
Rule = tuple[str, str]


def to_ours(tensors: dict[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Tensors under our names."""
    return _rename(tensors, [(theirs, ours) for ours, theirs in rules])


def to_theirs(tensors: dict[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Tensors under their names; undoes `to_ours`."""
    return _rename(tensors, [(ours, theirs) for ours, theirs in reversed(rules)])


def _rename(tensors: dict[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    compiled = [(re.compile(_pattern(old)), _replacement(new)) for old, new in rules]
    renamed = {}
    for name, tensor in tensors.items():
        for pattern, replacement in compiled:
            name = pattern.sub(replacement, name)
        renamed[name] = tensor
    return renamed


def _pattern(template: str) -> str:
    anchor = "^" if template.startswith("^") else ""
    return anchor + re.escape(template.removeprefix("^")).replace(r"\{\}", r"(\d+)")


def _replacement(template: str) -> str:
    parts = template.removeprefix("^").split("{}")
    return "".join(
        part + (rf"\{i + 1}" if i + 1 < len(parts) else "") for i, part in enumerate(parts)
    )


def split_attention(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """torch's stacked `in_proj_weight` / `in_proj_bias` as q_proj, k_proj and v_proj."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stem, _, kind = name.rpartition("in_proj_")
        if kind in ("weight", "bias"):
            for letter, part in zip("qkv", tensor.chunk(3), strict=True):
                out[f"{stem}{letter}_proj.{kind}"] = part.clone()
        else:
            out[name] = tensor
    return out


def join_attention(tensors: dict[str, Tensor], within: str) -> dict[str, Tensor]:
    """The reverse of `split_attention`, for modules called `within` ("self_attn")."""
    out = dict(tensors)
    for name in tensors:
        stem, marker, kind = name.partition(f"{within}.q_proj.")
        if marker:
            parts = [out.pop(f"{stem}{within}.{letter}_proj.{kind}") for letter in "qkv"]
            out[f"{stem}{within}.in_proj_{kind}"] = torch.cat(parts)
    return out
