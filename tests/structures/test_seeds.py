from __future__ import annotations

import subprocess
import sys

import torch

from segue.structures.seeds import order, points, seed_for, uniform


def test_a_seed_depends_on_every_part_and_its_type() -> None:
    seeds = {
        seed_for(*parts)
        for parts in [(1, "a"), ("1", "a"), (1, "b"), (1, "a", 0), ("1a",), (2, "a")]
    }
    assert len(seeds) == 6


def test_a_seed_is_the_same_in_another_process() -> None:
    code = "from segue.structures.seeds import seed_for; print(seed_for(7, 'view', 3))"
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PYTHONHASHSEED": "5"}
    )
    assert int(out.stdout) == seed_for(7, "view", 3)


def test_an_order_is_a_permutation_that_changes_with_the_epoch() -> None:
    first, second = order(50, 1, "order", 0), order(50, 1, "order", 1)
    assert sorted(first) == sorted(second) == list(range(50))
    assert first != second
    assert first == order(50, 1, "order", 0)


def test_uniform_numbers_look_uniform_and_rows_are_unrelated() -> None:
    numbers = uniform(torch.arange(6), 50_000)
    assert numbers.min() >= 0 and numbers.max() < 1
    torch.testing.assert_close(numbers.mean(1), torch.full((6,), 0.5), atol=0.01, rtol=0)
    torch.testing.assert_close(numbers.var(1), torch.full((6,), 1 / 12), atol=0.002, rtol=0)
    assert (torch.corrcoef(numbers) - torch.eye(6)).abs().max() < 0.02


def test_a_row_does_not_depend_on_what_else_is_drawn() -> None:
    keys = torch.tensor([5, -9, 2**62])
    together = points(keys, 40)
    for i in range(3):
        assert torch.equal(points(keys[i : i + 1], 40)[0], together[i])


def test_points_cover_the_unit_square_evenly() -> None:
    cells = (points(torch.tensor([3]), 1024)[0] * 8).long()
    counts = torch.bincount(cells[:, 0] * 8 + cells[:, 1], minlength=64)
    # 16 each; independent draws would give 6 to 28
    assert counts.min() >= 12 and counts.max() <= 20
