"""All that changes while a stage trains is in its state, and comes back to the bit."""

from __future__ import annotations

import torch

from segue.training import optim
from segue.training.ema import Ema
from segue.training.learner import Learner, Progress, random_state, set_random_state
from tests.models.pico import build, loss_of
from tests.toy import same_values


def learner(frozen: float = 2.0) -> Learner:
    chain = build("rfdetr", masks=False)
    chain.freeze_to(frozen)
    settings = optim.Optimizer()
    return Learner(
        chain=chain,
        loss=loss_of(chain),
        optimizer=optim.build(chain, settings),
        schedule=optim.Schedule(),
        ema=Ema(chain, 0.99),
        scaler=torch.amp.GradScaler("cpu", enabled=False),
        progress=Progress(),
        device="cpu",
        precision=torch.float32,
        settings=settings,
        seed=1,
    )


def test_random_numbers_follow_the_state_they_were_saved_with() -> None:
    state = random_state("cpu")
    first = torch.rand(5)
    set_random_state(state, "cpu")
    assert torch.equal(torch.rand(5), first)


def test_a_thaw_adds_what_learns_and_leaves_what_learned_alone() -> None:
    trained = learner()
    before = [id(p) for group in trained.optimizer.param_groups for p in group["params"]]
    trained.progress.steps, trained.progress.stale = 6, 3
    trained.thaw(1.0, lr_factor=0.5, warmup=4)
    groups = trained.optimizer.param_groups
    after = [id(p) for group in groups for p in group["params"]]
    assert set(before) < set(after) and len(after) == len(set(after))
    new = [group for group in groups if group["thawed_at"] == 6]
    assert new and all(group["warmup"] == 4 for group in new)
    assert trained.progress.stale == 0
    assert trained.progress.thawed == {6: {"position": 1.0, "lr_factor": 0.5}}


def test_a_learner_that_goes_on_has_thawed_what_the_first_one_had() -> None:
    first = learner()
    first.progress.steps = 6
    first.thaw(1.0, lr_factor=0.5)
    first.progress.steps, first.progress.best = 9, 0.25
    second = learner()
    second.load_state_dict(first.state_dict())
    assert second.progress == first.progress
    assert same_values(second.state_dict(), first.state_dict())
    assert [p.requires_grad for p in second.chain.parameters()] == [
        p.requires_grad for p in first.chain.parameters()
    ]
