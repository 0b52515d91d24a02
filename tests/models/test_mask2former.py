"""The Mask2Former family: plans it refuses, classes by name, frozen backbones, memory, and the
boxes around masks.
"""

from __future__ import annotations

import pytest
import torch

from segue.errors import PlanError
from segue.models import ModelSpec, mask2former
from segue.models.weights import ModelWeights
from segue.plan.schema import Plan
from segue.structures.channels import RGB, Channel
from segue.training import checkpoint
from segue.training.estimate import needs
from segue.training.freeze_benefit import counted
from segue.training.handover import adopt
from tests.conftest import toy_plan
from tests.toy import losses, run, run_until, same_tensors


def build(size="pico", classes=("a", "b"), channels=RGB, **options):
    settled, _ = mask2former.resolve_options(
        mask2former.Options(**options), mask2former.SIZES[size], 5, "cpu"
    )
    torch.manual_seed(0)
    spec = ModelSpec(
        family="mask2former",
        size=size,
        classes=classes,
        channels=channels,
        options=settled.model_dump(),
    )
    return mask2former.build(spec, masks=True)


def weights_of(chain, source="weights") -> ModelWeights:
    names = tuple(channel.name for channel in chain.spec.channels)
    return ModelWeights(dict(chain.state_dict()), chain.spec.classes, names, source)


def images(side=128, channels=3):
    return {
        "images": torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(1))
    }


def plan_of(rendered, folder, **changes) -> dict:
    """All of it from nothing, then the same with its backbone frozen; four steps."""
    plan = toy_plan(rendered, folder, detector={"name": "first", "task": "joint", "epochs": 1})
    plan["model"] = {"family": "mask2former", "size": "pico", "queries": 20}
    common = {**plan["stages"][0], "save_every_steps": 1, **changes}
    return {**plan, "stages": [common, {**common, "name": "second", "freeze": "backbone"}]}


@pytest.fixture(scope="module")
def reference(rendered, tmp_path_factory, resized_as_bytes):
    return run(plan_of(rendered, tmp_path_factory.mktemp("mask2former")))


# Recorded with this test on the day the family was complete. What a query attends to is cut off at
# a
# threshold: a value that another processor rounds across it changes the steps that follow, and the
# loss by 0.1 % in the fourth.
LOSSES = [40.9266968, 37.3934555, 35.622612, 34.0443077]


def test_losses_are_those_recorded_and_the_frozen_backbone_is_the_parents(reference):
    found = losses(reference / "1-first") + losses(reference / "2-second")
    assert found[0] == pytest.approx(LOSSES[0], rel=1e-4)
    assert found == pytest.approx(LOSSES, rel=5e-3)
    before, after = (
        checkpoint.read(reference / stage / "selected")[1] for stage in ("1-first", "2-second")
    )
    frozen = [name for name in before if name.startswith("backbone.")]
    assert len(frozen) > 90 and all(torch.equal(before[name], after[name]) for name in frozen)
    assert not torch.equal(before["decoder.class_head.weight"], after["decoder.class_head.weight"])


@pytest.mark.parametrize("images", [4, 1])
def test_a_step_is_the_same_however_it_is_split(reference, rendered, tmp_path, images):
    again = run(plan_of(rendered, tmp_path, images_per_forward=images), "first")
    assert losses(again / "1-first")[0] == pytest.approx(losses(reference / "1-first")[0], rel=1e-5)
    assert losses(again / "1-first") == pytest.approx(losses(reference / "1-first"), rel=1e-3)


def test_killed_inside_a_stage_it_goes_on_to_the_bit(reference, rendered, tmp_path, monkeypatch):
    plan = plan_of(rendered, tmp_path)
    run(plan, "first")
    run_until(plan, 1, monkeypatch)
    again = run(plan)
    for stage in ("1-first", "2-second"):
        assert losses(again / stage) == losses(reference / stage)
        assert same_tensors(again / stage / "last", reference / stage / "last")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "boxes"}, "mask2former has task: joint"),
        ({"task": "masks", "freeze": "decoder"}, "has task: joint"),
    ],
)
def test_a_stage_without_masks_is_refused(rendered, tmp_path, changes, words):
    plan = plan_of(rendered, tmp_path)
    plan["stages"][0] |= changes
    with pytest.raises(ValueError, match=words):
        Plan.model_validate(plan)


def test_a_loss_of_boxes_and_sizes_that_windows_do_not_fit_are_refused():
    with pytest.raises(PlanError, match="mask2former has no boxes"):
        mask2former.criterion(build(), "joint", {"l1": 5.0})
    for resolution in (126, 96):
        with pytest.raises(PlanError, match="a multiple of 4 from 128 on"):
            build(resolution=resolution)


def test_kept_classes_keep_every_bit_of_their_rows_and_score_the_same_in_another_order():
    """Scores agree within rounding, as products have other numbers of rows; masks to the bit."""
    old = build(classes=("cell", "rod", "tube")).eval()
    new = build(classes=("tube", "cell")).eval()
    report = adopt(new, weights_of(old))
    assert report.fresh == report.dropped == 0
    heads = [
        (chain.decoder.class_head.weight, chain.decoder.class_head.bias) for chain in (old, new)
    ]
    assert all(torch.equal(a[[2, 0]], b) for a, b in zip(*heads, strict=True))
    with torch.no_grad():
        a, b = old(images()), new(images())
    torch.testing.assert_close(b["logits"], a["logits"][..., [2, 0, 3]], rtol=1e-5, atol=1e-5)
    assert torch.equal(a["masks"].queries, b["masks"].queries) and torch.equal(
        a["masks"].pixels, b["masks"].pixels
    )


def test_queries_can_be_dropped_and_new_ones_begin_among_the_others():
    few, many = build(queries=10), build(queries=25)
    tensors = dict(many.state_dict())
    assert mask2former.adapt_weights(tensors, few.spec) == ["queries 25 -> 10: the first 10 kept"]
    few.load_state_dict(tensors)
    assert mask2former.adapt_weights(tensors, many.spec) == [
        "queries 10 -> 25: 15 new ones, drawn like those there are"
    ]
    for name in ("queries_features", "queries_embedder"):
        rows = tensors[f"decoder.transformer.{name}.weight"]
        assert (
            torch.equal(rows[:10], few.state_dict()[f"decoder.transformer.{name}.weight"])
            and len(rows.unique(dim=0)) == 25
        )
        assert 0.7 < rows[10:].std() / rows[:10].std() < 1.3
    again = dict(few.state_dict())
    mask2former.adapt_weights(again, many.spec)
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())
    many.load_state_dict(tensors)


def test_a_fourth_channel_at_its_mean_changes_nothing():
    three = build().eval()
    four = build(channels=(*RGB, Channel(name="thermal", mean=0.5, std=0.25))).eval()
    adopt(four, weights_of(three))
    with torch.no_grad():
        a, b = (
            three(images()),
            four({"images": torch.cat([images()["images"], torch.full((2, 1, 128, 128), 0.5)], 1)}),
        )
    torch.testing.assert_close(a["logits"], b["logits"])


def test_a_score_is_the_class_times_how_sure_the_mask_is():
    chain = build().eval()
    with torch.no_grad():
        state = chain(images())
        found = mask2former.postprocess(chain, state, [(90, 120), (128, 128)], 15)[0]
    assert len(found) == 15 and (found.scores.diff() <= 0).all() and found.size == (90, 120)
    classes = state["logits"][0, -1].softmax(-1)[:, :-1]
    masks = state["masks"].at(torch.zeros(40).long(), torch.full((40,), 3), torch.arange(40))
    sure = torch.stack(
        [m.sigmoid()[m > 0].mean() if (m > 0).any() else torch.zeros(()) for m in masks]
    )
    best = (classes * sure[:, None]).flatten()
    assert all((best - score).abs().min() < 1e-6 for score in found.scores)


def test_computing_blocks_again_gives_the_same_gradients_from_less_memory():
    kept, again = build().train(), build(recompute=True).train()
    again.load_state_dict(kept.state_dict())
    sizes = []
    for chain in (kept, again):

        def step(chain=chain):
            state = chain(images())
            (
                state["logits"].square().sum()
                + state["masks"].queries.sum()
                + state["masks"].pixels.sum()
            ).backward()

        sizes.append(counted(chain, step))
    assert sizes[1] < 0.5 * sizes[0]
    for (name, a), b in zip(kept.named_parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


def test_1500_pixels_with_200_cells_fit_24_gigabytes_when_blocks_are_computed_again():
    """As in the pipeline this family is for.

    ModelWeights, gradients and Adam's two averages are 16 bytes a parameter.
    """
    with torch.device("meta"):
        large = build("swin-large", resolution=1500, queries=200, recompute=True)
        kept = build("swin-large", resolution=1500, queries=200)
    needed = needs(large, 200).activations + 16 * sum(p.numel() for p in large.parameters())
    assert needed < 10e9
    assert needs(kept, 200).activations > 24e9
