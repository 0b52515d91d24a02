"""Mask2Former answers as transformers' does, loses what it loses, and reads
facebookresearch/Mask2Former's files.

Random weights throughout. The names of facebookresearch's files are written out here, apart from
the table that reads them.
"""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import transformers
from torch import Tensor, nn
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from segue.errors import CheckpointError
from segue.losses import criterion as criterion_module
from segue.losses import matcher
from segue.models import ModelSpec, mask2former
from segue.models.parts.chain import Chain
from segue.models.weights import foreign
from segue.models.weights import mask2former as files
from segue.structures.masks import PackedMasks
from segue.structures.target import Batch, Target
from segue.training.handover import adopt
from tests.optional import present
from tests.parity.facebook_mask2former import facebooks_names
from tests.parity.test_detr import shaken

CLASSES = ("cell", "tube", "rod")
QUERIES, SIDE = 12, 128


@pytest.fixture(scope="module")
def peer() -> nn.Module:
    """transformers' model of our size pico, every weight random."""
    size = mask2former.SIZES["pico"]
    swin_config: Any = transformers.SwinConfig  # takes more than it declares
    swin = swin_config(
        embed_dim=size.embed, depths=size.depths, num_heads=size.heads,
        window_size=size.window, drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config_of: Any = transformers.Mask2FormerConfig  # takes more than it declares
    config = config_of(
        backbone_config=swin, feature_size=64, mask_feature_size=64, hidden_dim=64,
        encoder_feedforward_dim=128, dim_feedforward=128, encoder_layers=2, decoder_layers=4,
        num_attention_heads=4, num_queries=QUERIES,
        num_labels=len(CLASSES), id2label=dict(enumerate(CLASSES)), train_num_points=200,
    )  # fmt: skip
    torch.manual_seed(1)
    model: Any = shaken(transformers.Mask2FormerForUniversalSegmentation(config)).eval()
    # what the losses weigh is no weight
    model.criterion.empty_weight.copy_(torch.tensor([1.0, 1.0, 1.0, 0.1]))
    return model


@pytest.fixture(scope="module")
def folder(peer: Any, tmp_path_factory: pytest.TempPathFactory):
    path = tmp_path_factory.mktemp("peer")
    peer.save_pretrained(path)
    return path


def ours_of(source: Any, classes: Any = CLASSES, **options: Any) -> Chain:
    """Our model with the weights of a file or folder."""
    weights = mask2former.import_weights(str(source))
    known = {**mask2former.options_from_weights(weights.tensors, "pico", "cpu"), **options}
    settled, _ = mask2former.resolve_options(
        mask2former.Options(**known), mask2former.SIZES["pico"], 5, "cpu"
    )
    spec = ModelSpec(
        family="mask2former", size="pico", classes=classes, options=settled.model_dump()
    )
    chain = mask2former.build(spec, True)
    report = adopt(chain, weights)
    assert report.tensors == len(chain.state_dict()) and report.fresh == report.dropped == 0
    return chain.eval()


def pixels() -> Tensor:
    return torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(5))


def peers_answer(peer: nn.Module, images: Tensor, **labels: Any):
    images = torchvision.transforms.functional.normalize(
        images, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    )
    return peer(pixel_values=images, output_auxiliary_logits=True, **labels)


def all_masks(chain: Chain, masks: Any, layer: int) -> Tensor:
    image, query = (
        grid.flatten()
        for grid in torch.meshgrid(torch.arange(2), torch.arange(QUERIES), indexing="ij")
    )
    return masks.at(image, torch.full_like(image, layer), query).unflatten(0, (2, QUERIES))


def answers_agree(chain: Chain, peer: nn.Module) -> None:
    with torch.no_grad():
        state, theirs = chain({"images": pixels()}), peers_answer(peer, pixels())
    layers = [*theirs.auxiliary_logits, {
        "class_queries_logits": theirs.class_queries_logits,
        "masks_queries_logits": theirs.masks_queries_logits
    }]  # fmt: skip
    assert state["logits"].shape[1] == len(layers) == 4
    for number, layer in enumerate(layers):
        torch.testing.assert_close(
            state["logits"][:, number], layer["class_queries_logits"], rtol=1e-5, atol=1e-5
        )
        found = all_masks(chain, state["masks"], number)
        torch.testing.assert_close(found, layer["masks_queries_logits"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("recompute", [False, True])
def test_every_layer_answers_as_transformers(peer: nn.Module, folder: Any, recompute: bool) -> None:
    answers_agree(ours_of(folder, recompute=recompute), peer)


def squares(counts: tuple[int, int] = (3, 5)) -> list[Target]:
    """Objects that are rectangles of a 128 px frame."""
    g = torch.Generator().manual_seed(2)
    found = []
    for key, n in enumerate(counts):
        corners = torch.randint(0, 70, (n, 2), generator=g)
        sizes = torch.randint(12, 50, (n, 2), generator=g)
        windows = torch.cat([corners, corners + sizes], 1)
        rasters = [
            np.ones((int(y1 - y0), int(x1 - x0)), dtype=bool) for x0, y0, x1, y1 in windows.tolist()
        ]
        found.append(
            Target(
                labels=torch.randint(0, len(CLASSES), (n,), generator=g),
                boxes_cxcywh=torch.zeros(n, 4),
                has_mask=torch.ones(n, dtype=torch.bool),
                object_weights=torch.ones(n),
                masks=PackedMasks.pack(rasters, windows.tolist(), SIDE, SIDE),
                key=key,
            )
        )
    return found


def test_losses_at_the_same_points_are_transformers_losses(
    peer: nn.Module, folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Points lie on pixel centres, where reading the nearest pixel of a target is reading it
    bilinearly.
    """
    where = (
        torch.randint(0, SIDE, (1, 200, 2), generator=torch.Generator().manual_seed(3)) + 0.5
    ) / SIDE
    fixed, images = lambda _, m, *__: where.expand(len(m), -1, -1), pixels()
    monkeypatch.setattr(Mask2FormerLoss, "sample_points_using_uncertainty", fixed)
    monkeypatch.setattr(torch, "rand", lambda *_, **__: where)
    monkeypatch.setattr(matcher, "points_of", lambda keys, _: where.expand(len(keys), -1, -1))
    monkeypatch.setattr(
        criterion_module, "uncertain_points", lambda m, *_: where.expand(len(m), -1, -1)
    )
    targets = squares()
    masks = [
        torch.stack([present(t.masks).dense(i) for i in range(len(t))]).float() for t in targets
    ]
    with torch.no_grad():
        monkeypatch.setattr(peer, "get_loss", lambda losses: losses)
        theirs = peers_answer(
            peer, images, mask_labels=masks, class_labels=[t.labels for t in targets]
        ).loss
    chain = ours_of(folder)
    state = chain({"images": images})
    loss = mask2former.criterion(chain, "joint", {})
    sums = loss(mask2former.predictions(chain, state), targets)
    counts = Batch({"images": images}, targets).counts()
    names = {"classes": "loss_cross_entropy", "mask_bce": "loss_mask", "dice": "loss_dice"}
    assert sums.keys() == names.keys() and len(theirs) == 12
    for name, value in sums.items():
        for layer in range(4):
            expected = theirs[names[name] + ("" if layer == 3 else f"_{layer}")]
            found = loss.total({name: value[layer]}, counts)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["pth", "pkl"])
def test_facebooks_files_are_read(peer: nn.Module, kind: str, tmp_path: Path) -> None:
    path, tensors = tmp_path / f"model_final.{kind}", facebooks_names(peer)
    if kind == "pth":
        torch.save({"model": tensors, "iteration": 3000}, path)
    else:
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        path.write_bytes(
            pickle.dumps(
                {"model": arrays, "__author__": "third_party", "matching_heuristics": True}
            )
        )
    assert mask2former.import_weights(str(path)).classes == (None, None, None)
    answers_agree(_named_by_position(path), peer)


def test_a_file_that_is_written_has_facebooks_names_and_says_what_it_is(
    peer: nn.Module, tmp_path: Path
) -> None:
    torch.save({"model": facebooks_names(peer)}, tmp_path / "theirs.pth")
    chain = _named_by_position(tmp_path / "theirs.pth")
    content = files.file_of(chain.state_dict(), chain.spec, 3000, {"cell": 7, "tube": 9, "rod": 12})
    foreign.write_pickle(tmp_path / "ours.pth", content)
    used = {name: t for name, t in facebooks_names(peer).items() if not files.UNUSED.search(name)}
    assert content["model"].keys() == used.keys() and len(used) == 206
    assert all(torch.equal(content["model"][name], tensor) for name, tensor in used.items())
    weights = mask2former.import_weights(str(tmp_path / "ours.pth"))
    assert weights.classes == CLASSES and present(weights.card).spec == chain.spec
    assert present(weights.card).complete and present(weights.card).data == {
        "classes": {"cell": 7, "tube": 9, "rod": 12}
    }


def _named_by_position(path: Any) -> Chain:
    """What `weights_classes` does in a plan: names for rows that have none."""
    weights = mask2former.import_weights(str(path))
    weights.classes = CLASSES
    settled, _ = mask2former.resolve_options(
        mask2former.Options(queries=QUERIES), mask2former.SIZES["pico"], 5, "cpu"
    )
    chain = mask2former.build(
        ModelSpec(family="mask2former", size="pico", classes=CLASSES, options=settled.model_dump()),
        True,
    )
    adopt(chain, weights)
    return chain.eval()


def test_a_pickle_that_names_anything_else_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return (print, ("marker",))

    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps({"model": {"a": Evil()}}))
    with pytest.raises(CheckpointError, match=r"names builtins\.print"):
        mask2former.import_weights(str(path))


def test_swin_alone_is_a_backbone(peer: Any, tmp_path: Path) -> None:
    """Microsoft's file and transformers' folder both fill the whole backbone but the norms of its
    outputs.
    """
    names = {n: t for n, t in facebooks_names(peer).items() if n.startswith("backbone.")}
    microsoft = {
        n.removeprefix("backbone."): t
        for n, t in names.items()
        if not re.match(r"backbone\.norm\d", n)
    }
    classifier = {"head.weight": torch.zeros(2, 2), "norm.weight": torch.zeros(2)}
    torch.save({"model": microsoft | classifier}, tmp_path / "a.pth")
    peer.model.pixel_level_module.encoder.swin.save_pretrained(tmp_path / "folder")
    wanted = {
        n
        for n in ours_of_nothing().state_dict()
        if n.startswith("backbone.") and "hidden_states_norms" not in n
    }
    for source in (tmp_path / "a.pth", tmp_path / "folder"):
        assert mask2former.import_weights(str(source)).tensors.keys() == wanted


def ours_of_nothing() -> Chain:
    settled, _ = mask2former.resolve_options(
        mask2former.Options(), mask2former.SIZES["pico"], 5, "cpu"
    )
    spec = ModelSpec(
        family="mask2former", size="pico", classes=CLASSES, options=settled.model_dump()
    )
    return mask2former.build(spec, True)
