"""The table of docs/trust.md has a test behind every row, and says what docs/trust.py says."""

from __future__ import annotations

import re
import runpy
from xml.etree import ElementTree

from tests.conftest import ROOT

TRUST = runpy.run_path(str(ROOT / "docs" / "trust.py"))
ROWS = TRUST["ROWS"]


def test_every_row_has_a_test_that_carries_its_promise():
    carried = TRUST["carriers"]()
    assert set().union(*carried.values()) == set(ROWS)


def test_the_page_was_written_by_the_command_and_every_row_is_kept():
    rows = re.findall(
        r"^\| (\w+) \| (.*?) \| (.*?) \| (.*?) \|$",
        (ROOT / "docs" / "trust.md").read_text(),
        re.MULTILINE,
    )
    assert {name: words for name, words, *_ in rows if name != "row"} == ROWS
    unkept = [
        name
        for name, _, faults, tests in rows[1:]
        if not re.match(r"\d", tests) or not re.match(r"\d", faults)
    ]
    assert unkept == []


CASES = """<testsuites><testsuite>
<testcase classname="tests.a" name="test_x[1]">
<properties><property name="promise" value="P1|7|kills"/></properties>
</testcase>
<testcase classname="tests.a" name="test_x[2]">
<properties><property name="promise" value="P1|5|kills"/></properties>
</testcase>
<testcase classname="tests.a" name="test_y"><failure message="no"/></testcase>
<testcase classname="tests.a" name="test_z"><skipped message="no data"/></testcase>
</testsuite></testsuites>"""


def test_a_row_with_a_failing_test_or_without_one_that_ran_is_not_kept():
    carried = {
        "tests/a.py::test_x": {"P1"},
        "tests/a.py::test_y": {"P2"},
        "tests/a.py::test_z": {"P3"},
    }
    rows = TRUST["outcomes"](ElementTree.fromstring(CASES).iter("testcase"), carried)
    assert [name for name, row in rows.items() if row.kept] == ["P1"]
    assert rows["P1"].faults == {"kills": 12} and rows["P1"].tests == "2"
    assert rows["P2"].failed == ["tests/a.py::test_y"] and "FAILED" in rows["P2"].tests
    assert rows["P3"].tests == "**none ran**, 1 skipped" and rows["P4"].tests == "**none**"
    assert "| P1 | " + ROWS["P1"] + " | 12 kills | 2 |" in TRUST["table"](rows)
