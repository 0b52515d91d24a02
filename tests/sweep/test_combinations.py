"""Members of a sweep: which there are, what they are called, and what is refused before any is
trained.
"""

from __future__ import annotations

import pytest

from segue.errors import PlanError
from segue.sweep.combinations import members_of, names_of, swept_keys, values_in
from segue.sweep.runner import SweepFolder
from tests.sweep.test_runner import command, toy_sweep
from tests.toy import Console


def test_everything_that_is_wrong_is_said_before_the_first_member_is_trained(rendered, tmp_path):
    plan = toy_sweep(rendered, tmp_path)
    for arguments, words in (
        (
            ("model.resolution=64,65", "model.queries=30,5000"),
            ("3 of 4 members", "resolution=65: ", "at most "),
        ),
        (("model.querys=10,20",), ("2 of 2 members", "all members", "did you mean 'queries'?")),
        (("model.family=rfdetr,retdetr",), ("1 of 2 members", "family=retdetr: ", "rfdetr?")),
        (("data.root=nowhere,absent",), ("2 of 2", "root=nowhere: nowhere", "root=absent: absent")),
        (("stages.detector.workers=0,1",), ("1 of 2", "workers=1: ", "the same as workers=0")),
        (("model.queries=30",), ("no key has several values",)),
        (("device=cpu,cuda",), ("--devices",)),
        (("model.queries=30,40", "--devices", "cuda:77"), ("no cuda:77 here",)),
    ):
        code, _, said = command("sweep", plan, *arguments)
        assert code == 2 and all(word in said for word in words), said
    assert not list((tmp_path / "runs").glob("*-*"))


def test_more_values_go_on_with_the_sweep_and_another_plan_begins_one(rendered, tmp_path):
    plan = toy_sweep(rendered, tmp_path)

    def opened(*arguments: str) -> SweepFolder:
        return SweepFolder.open(members_of(plan, arguments, Console(quiet=True)), None, 1)

    two = opened("model.queries=20,30")
    three = opened("model.queries=40,30,20")
    assert three.path == two.path and list(three.notes) == [
        "queries=20",
        "queries=30",
        "queries=40",
    ]
    assert opened("model.queries=20,30", "stages.detector.epochs=9").path.name == "toy-sweep-2"
    assert opened("model.queries=20,30", "seed=1,2").path.name == "toy-sweep-3"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a,b", ["a", "b"]),
        ("[64, 96],[128]", ["[64, 96]", "[128]"]),
        ("{1: a, 2: b},null", ["{1: a, 2: b}", "null"]),
        ("'a,b',\"c,d\"", ["'a,b'", '"c,d"']),
        ("plain", ["plain"]),
        ("", [""]),
    ],
)
def test_commas_within_brackets_and_quotes_divide_nothing(text, values):
    assert values_in(text) == values


@pytest.mark.parametrize("arguments", [["a=1,"], ["a=1,,2"], ["a=1,2", "a=3,4"], ["name=x,y"], []])
def test_what_cannot_be_swept_is_refused(arguments):
    with pytest.raises(PlanError, match="sweep"):
        swept_keys(arguments)


def test_names_say_what_differs_and_are_safe_in_any_file_system():
    assert names_of([{"model.backbone": "mit_b0", "model.fusion": "add"}]) == [
        "backbone=mit_b0,fusion=add"
    ]
    both = {"stages.a.optimizer.lr": "1e-3", "stages.b.optimizer.lr": "2"}
    assert names_of([both]) == ["a.optimizer.lr=1e-3,b.optimizer.lr=2"]
    paths = names_of([{"weights": "/x/y"}, {"weights": "-x:y"}, {"weights": "W" * 300}])
    assert (
        paths[0].startswith("weights=-x-y-")
        and len(set(paths)) == 3
        and max(map(len, paths)) <= 100
    )
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyzW0123456789=-") for name in paths)
