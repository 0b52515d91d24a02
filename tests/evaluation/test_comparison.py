"""Runs side by side: what is sorted, marked and said."""

from __future__ import annotations

import csv
import io

import pytest

from segue.evaluation.bootstrap import Difference
from segue.evaluation.comparison import Comparison, Row, sorted_rows


def gap(low: float, high: float, gain: float) -> Difference:
    return Difference("box", 0.5, 0.5 + gain, low, high, 40)


ROWS = (
    Row(
        "small",
        "complete",
        ap=0.40,
        parameters=10,
        ms_per_image=5.0,
        difference=gap(-0.2, -0.05, -0.1),
    ),
    Row("large", "complete", ap=0.50, parameters=90, ms_per_image=20.0),
    Row(
        "slow",
        "complete",
        ap=0.49,
        parameters=20,
        ms_per_image=30.0,
        difference=gap(-0.05, 0.03, -0.01),
    ),
    Row(
        "waste",
        "complete",
        ap=0.39,
        parameters=95,
        ms_per_image=40.0,
        difference=gap(-0.2, -0.06, -0.11),
    ),
    Row("dead", "failed", "killed by signal 9", values=(("lr", "1e9"),)),
)


@pytest.fixture
def page() -> Comparison:
    return Comparison("a sweep", "box", "large", sorted_rows(ROWS), {"data": "<b>40 images</b>"})


def test_rows_are_sorted_by_validation_ap_and_those_that_failed_come_last(page: Comparison) -> None:
    assert [row.name for row in page.rows] == ["large", "slow", "small", "waste", "dead"]


def test_a_run_is_marked_where_no_other_one_is_better_at_no_higher_cost(page: Comparison) -> None:
    marks = {row.name: page.pareto(row) for row in page.rows}
    assert marks == {
        "large": ["speed", "size"],
        "slow": ["size"],
        "small": ["speed", "size"],
        "waste": [],
        "dead": [],
    }


def test_two_equal_runs_are_both_marked() -> None:
    twins = tuple(Row(name, "complete", ap=0.4, parameters=10, ms_per_image=5.0) for name in "ab")
    assert all(
        Comparison("", "box", "a", twins, {}).pareto(row) == ["speed", "size"] for row in twins
    )


def test_the_verdict_calls_a_difference_real_only_where_the_interval_leaves_out_0(
    page: Comparison,
) -> None:
    verdict = page.verdict()
    assert verdict.startswith("large has the highest box_ap 0.500 in validation.")
    assert "Worse than it: small; waste." in verdict and "Better" not in verdict
    assert "No evidence of a difference from it, because the interval holds 0: slow." in verdict
    assert "highest of 4 on the same images" in verdict and verdict.endswith(
        "1 of 5 are not complete."
    )
    assert "nothing to compare" in Comparison("", "box", "", ROWS[4:], {}).verdict()


def test_the_table_lists_failed_runs_with_the_reason(page: Comparison) -> None:
    lines = page.as_text().splitlines()
    assert lines[1].split()[:2] == ["large", "0.500"]
    assert "-0.100 (-0.200 to -0.050), worse  " in lines[3] and lines[3].endswith("  speed size")
    assert lines[5] == "dead   failed: killed by signal 9"


def test_the_same_rows_are_in_csv_and_json(page: Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(page.as_csv())))
    assert [row["name"] for row in rows] == [row["name"] for row in page.as_json()["rows"]]
    assert (
        rows[4]["lr"] == "1e9"
        and rows[4]["valid_ap"] == ""
        and rows[4]["reason"] == "killed by signal 9"
    )
    assert (
        float(rows[1]["low"]) == -0.05
        and rows[1]["verdict"] == "no evidence"
        and rows[1]["pareto"] == "size"
    )
    assert page.as_json()["rows"][1]["pareto"] == ["size"]


def test_the_page_escapes_what_comes_from_files_and_shows_both_costs(page: Comparison) -> None:
    html = page.as_html()
    assert "&lt;b&gt;40 images" in html and html.count("<svg") == 2
    assert "failed: killed by signal 9" in html and 'class="gap no-evidence"' in html
