"""Asked to stop anywhere, once or twice, a run ends soon and says so; nothing starts behind it, and
it goes on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any

import pytest

from segue.errors import HandoverError
from segue.plan.schema import Model
from segue.run.notes import read_note
from segue.run.opening import open_weights
from segue.training import checkpoint
from tests.conftest import Promise
from tests.faults import struck
from tests.faults.struck import BETWEEN, Blow
from tests.faults.test_kill import rows

CODES: dict[int, int] = {SIGTERM: 143, SIGINT: 130}


def ask(plan: Path, blow: Blow) -> str:
    """Run until the blow; what was said."""
    code, said = struck.run(plan, blow)
    assert (blow, code) == (blow, CODES[blow.signals[-1]]), said
    assert "Traceback" not in said and said.endswith("the same command resumes\n"), said
    return said


def states(run: Path) -> dict[str, str]:
    return {name: note.state for name, note in read_note(run).stages.items()}


def test_asked_once_in_each_place_it_stops_and_goes_on(
    undisturbed: Callable[[int], tuple[Path, dict[str, list[int]]]],
    few: Path,
    tmp_path: Path,
    promise: Promise,
) -> None:
    plan, run = struck.three_stages(few, tmp_path, parts=4)
    detector = run / "1-detector"
    assert "saved is whole" in ask(plan, Blow(BETWEEN, 1, 300_000, (SIGTERM,)))
    assert "everything is saved" in ask(plan, Blow("step", 2, 9_000, (SIGTERM,)))
    assert states(run) == {"detector": "interrupted"}  # and the next stage did not start
    assert checkpoint.verify(detector / "last").step == rows(detector / "steps.csv") == 2
    with pytest.raises(HandoverError, match="stage detector was not finished"):
        open_weights(str(detector / "last"), Model())
    ask(plan, Blow("validation", 1, 30_000, (SIGINT,)))
    assert checkpoint.verify(detector / "last").step == rows(detector / "steps.csv") == 2
    ask(plan, Blow("saving", 3, 15_000, (SIGTERM,)))
    done = rows(detector / "steps.csv")
    assert done < 4 and checkpoint.verify(detector / "last").step == done
    ask(plan, Blow(BETWEEN, 2, 60_000, (SIGINT,)))
    assert states(run) == {"detector": "interrupted"}
    ask(plan, Blow("thaw", 1, 40_000, (SIGTERM,)))
    assert states(run) == {"detector": "complete", "tune": "interrupted"}
    assert struck.run(plan)[0] == 0 and struck.differences(run, undisturbed(4)[0]) == []
    promise("P7", 6, "signals, one in each place")


def test_asked_twice_it_stops_where_it_is_and_loses_nothing_that_was_saved(
    undisturbed: Callable[[int], tuple[Path, dict[str, list[int]]]],
    few: Path,
    tmp_path: Path,
    promise: Promise,
) -> None:
    plan, run = struck.three_stages(few, tmp_path, parts=4)
    blows = [
        Blow("step", 2, 9_000, (SIGTERM, SIGTERM)),
        Blow("validation", 1, 30_000, (SIGINT, SIGINT)),
        Blow("saving", 1, 15_000, (SIGINT, SIGTERM)),
    ]
    for blow in blows:
        assert "at once" not in (said := ask(plan, blow)) and "what was saved is whole" in said
        assert set(states(run)) == {"detector"} and states(run)["detector"] == "interrupted"
        assert checkpoint.recover(run / "1-detector" / "last")[1] == []
    assert struck.run(plan)[0] == 0 and struck.differences(run, undisturbed(4)[0]) == []
    promise("P7", len(blows), "pairs of signals")


@pytest.mark.parametrize("place", [*struck.PLACES, BETWEEN])
@pytest.mark.slow
def test_any_signals_in_any_place_of_a_stage(
    undisturbed: Callable[[int], tuple[Path, dict[str, list[int]]]],
    few: Path,
    tmp_path: Path,
    place: Any,
    promise: Promise,
) -> None:
    """Also in the last save of a stage, and behind it; whether one signal or two, a start later it
    is the same run.
    """
    whole, counts = undisturbed(1)
    asked = [(SIGTERM,), (SIGINT,), (SIGTERM, SIGTERM), (SIGINT, SIGINT), (SIGINT, SIGTERM)]
    plan, run = struck.three_stages(few, tmp_path)
    ended, call = 0, 2 if place == BETWEEN else 1  # the first is before there is a run
    for number, signals in enumerate(asked):
        event = (number + 1) * min(counts[place][call - 1 :]) // 7
        code, said = struck.run(plan, Blow(place, call, event, signals))
        ended += code != 0
        assert code in (0, *CODES.values()) and "Traceback" not in said, said
    assert struck.run(plan)[0] == 0 and struck.differences(run, whole) == []
    assert ended > 0  # a blow that its call is too short for is not struck
    promise("P7", ended, f"signals or pairs of them, {place}")
