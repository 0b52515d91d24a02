"""One table translates names of tensors in both directions, and attention is split and joined."""

from __future__ import annotations

import torch

from segue.models.weights.renaming import join_attention, split_attention, to_ours, to_theirs

# ours, theirs
RULES = [("^decoder.{}.mlp", "^transformer.layer{}.fc"), ("layer_norm", "norm")]


def test_names_go_there_and_back_and_values_stay():
    theirs = {"transformer.layer12.fc.weight": torch.ones(2), "norm.bias": torch.zeros(1)}
    ours = to_ours(theirs, RULES)
    assert list(ours) == ["decoder.12.mlp.weight", "layer_norm.bias"]
    assert ours["decoder.12.mlp.weight"] is theirs["transformer.layer12.fc.weight"]
    back = {"transformer.layer3.fc.bias": torch.zeros(1)}
    assert list(to_theirs(to_ours(back, RULES), RULES)) == list(back)


def test_a_rule_for_the_beginning_of_a_name_leaves_others_alone():
    name = "other.transformer.layer1.fc.weight"
    assert list(to_ours({name: torch.zeros(1)}, RULES)) == [name]


def test_attention_is_three_projections_and_again_one():
    stacked = {
        "a.self_attn.in_proj_weight": torch.arange(12.0).reshape(6, 2),
        "a.self_attn.in_proj_bias": torch.arange(6.0),
        "a.other": torch.zeros(1),
    }
    split = split_attention(stacked)
    assert len(split) == 7 and split["a.self_attn.k_proj.bias"].tolist() == [2.0, 3.0]
    joined = join_attention(split, "self_attn")
    assert joined.keys() == stacked.keys()
    assert all(torch.equal(joined[name], stacked[name]) for name in stacked)
