"""The cache gives back what the frozen parts would compute, however often it was interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from segue.data.dataset import Data, read_dataset
from segue.data.pipeline.samples import Samples
from segue.data.pipeline.transforms import Augment, View
from segue.models import ModelSpec, rfdetr
from segue.models.parts.chain import Chain
from segue.structures.target import collate
from segue.training import cache
from tests.optional import present


@pytest.fixture(scope="module")
def parts(rendered: Path) -> tuple[Chain, Samples]:
    data = read_dataset(Data(root=rendered))
    options, _ = rfdetr.resolve_options(
        rfdetr.Options(groups=2, queries=12, resolution=64), rfdetr.SIZES["pico"], 5, "cpu"
    )
    spec = ModelSpec(
        family="rfdetr", size="pico", classes=data.classes, options=options.model_dump()
    )
    torch.manual_seed(0)
    chain = rfdetr.build(spec, masks=True)
    chain.freeze_through("decoder")
    records = data.splits["train"].records[:5]
    samples = Samples(
        records, data.classes, spec.channels, View(64, 64, Augment()), 7, True, views=2
    )
    return chain, samples


def filled(
    parts: tuple[Chain, Samples],
    folder: Any,
    tick: Callable[..., Any] = lambda done, total: None,
    **key: Any,
) -> cache.CachedSamples:
    chain, samples = parts
    folder.mkdir(exist_ok=True)
    return cache.fill(chain, samples, folder / "cache", {"a": 1, **key}, 2, "cpu", tick)


def test_a_record_is_the_frozen_outputs_of_that_view_in_half_precision(
    parts: tuple[Chain, Samples], tmp_path: Path
) -> None:
    chain, samples = parts
    stored = filled(parts, tmp_path)
    for position in ((0, 3), (1, 0), (2, 4), (5, 1)):
        inputs, target = stored[position]
        image, expected = samples[position]
        with torch.no_grad():
            outputs = chain.eval().prefix(collate([(image, expected)]).inputs)
        assert inputs.keys() == outputs.keys() >= {"memory_0", "queries", "boxes_cxcywh"}
        for name, value in inputs.items():
            torch.testing.assert_close(value, outputs[name][0], atol=2e-3, rtol=2e-3)
        assert (
            torch.equal(target.boxes_cxcywh, expected.boxes_cxcywh)
            and target.record == expected.record
        )
        assert target.size == expected.size and torch.equal(target.labels, expected.labels)
        assert all(
            torch.equal(t, present(expected.masks).tensors()[name])
            for name, t in present(target.masks).tensors().items()
        )


def test_views_repeat_but_points_of_the_loss_are_drawn_again(
    parts: tuple[Chain, Samples], tmp_path: Path
) -> None:
    stored = filled(parts, tmp_path)
    first, again, other = stored[(0, 2)], stored[(2, 2)], stored[(1, 2)]
    assert torch.equal(first[0]["queries"], again[0]["queries"])
    assert not torch.equal(first[0]["queries"], other[0]["queries"])
    assert len({first[1].key, again[1].key, other[1].key}) == 3


def contents(folder: Any):
    return {path.name: path.read_bytes() for path in (folder / "cache").iterdir()}


@pytest.mark.parametrize("at", [2, 6])
def test_a_fill_that_was_killed_goes_on_and_ends_with_the_same_bytes(
    parts: tuple[Chain, Samples], tmp_path: Path, at: int
) -> None:
    filled(parts, tmp_path / "whole")

    def stop(done: int, total: int) -> None:
        assert total == 10
        if done == at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        filled(parts, tmp_path / "killed", stop)
    with (tmp_path / "killed" / "cache" / cache.TARGETS).open("ab") as file:
        file.write(b"half a record")  # killed between writing and noting
    ticks = []
    filled(parts, tmp_path / "killed", lambda done, total: ticks.append(done))
    assert ticks[0] == at + 2 and contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_a_full_cache_is_read_and_not_filled_again(
    parts: tuple[Chain, Samples], tmp_path: Path
) -> None:
    filled(parts, tmp_path)
    ticks = []
    filled(parts, tmp_path, lambda done, total: ticks.append(done))
    assert ticks == []
    filled(parts, tmp_path, lambda done, total: ticks.append(done), frozen="other weights")
    assert ticks[-1] == 10


def test_it_is_left_out_where_it_cannot_pay(tmp_path: Path) -> None:
    settings = cache.Cache(views=4)
    assert "each of the 4 views at most once" in cache.worth_it(settings, 4, 100, 10, tmp_path)
    assert "GB free; lower cache.views" in cache.worth_it(settings, 9, 10**12, 1000, tmp_path)
    assert cache.worth_it(settings, 5, 100, 10, tmp_path) == ""


def test_the_size_of_a_record_is_known_beforehand(
    parts: tuple[Chain, Samples], tmp_path: Path
) -> None:
    chain, samples = parts
    stored = filled(parts, tmp_path)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.f16"))
    assert cache.record_bytes(chain, samples, "cpu") * 10 == on_disk and len(stored) == 5
