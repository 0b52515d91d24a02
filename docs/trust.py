"""Run the tests that carry promises and write down what they broke, in docs/trust.md: python
docs/trust.py -n 2

A test carries the promise of a row where it says `promise("P1", 50, "kills while saving")`, last:
how many faults it injected, and what they were. The command fails if a row has no test that ran, or
one that failed; --rows P1 P2 runs and prints these alone and writes nothing. All other options are
pytest's.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import torch

from segue import __version__

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "trust.md"
ROWS = {
    "P1": "A checkpoint under its name is complete, wherever a kill interrupted saving.",
    "P2": "A checkpoint in which a byte was changed, cut off or swapped is reported before "
    "the first step.",
    "P3": "If the newest checkpoint is broken, the complete one before it is used, with a message.",
    "P4": "Killed anywhere and started again, a run has the weights, EMA, optimizer state, "
    "random state and best score of a run that was never killed, bit for bit.",
    "P5": "The number of data workers changes no bit of the result.",
    "P7": "Asked to stop, a run ends within a step and a save, with exit code 143 or 130; the "
    "next stage does not start, and the same command resumes.",
    "P8": "A full disk costs nothing that was saved; a run survives a short one, and ends with "
    "an error message at a lasting one.",
    "P9": "No NaN or infinity changes a weight or reaches the disk; the step that produced it "
    "can be replayed.",
    "P10": "Bad input is reported before training, with file and object; no crash, no silence, "
    "and no change to the user's files.",
    "P13": "Frozen means frozen: every tensor and buffer has the same bytes at both ends of the "
    "stage.",
    "P14": "A wrong parent, an edited plan or other classes are refused, with the differences.",
    "P15": "A member of a sweep that fails affects no other.",
    "P16": "The bytes a run keeps do not grow with its evaluations, and a kill leaves no stray "
    "files.",
    "P17": "A hanging data worker is reported.",
    "P18": "Checkpoints written by earlier versions load, and mean the same.",
    "OOM": "Running out of memory at any step changes no bit of the result.",
    "hostile": "Hostile files do nothing: segue refuses them, whichever way they come in.",
    "fuzz": "No mutation of an annotation file crashes, hangs or fills the memory.",
    "audit": "Data sets whose defects are known are audited as expected, clean ones without a "
    "complaint.",
}


@dataclass
class Row:
    """The outcome of a promise: faults by kind, and tests that passed, were skipped or failed."""

    faults: Counter[str] = field(default_factory=Counter)
    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        return bool(self.passed) and not self.failed

    @property
    def tests(self) -> str:
        if self.failed:
            return "**FAILED**: " + ", ".join(sorted(self.failed))
        if not self.passed:
            return f"**none ran**, {self.skipped} skipped" if self.skipped else "**none**"
        return f"{self.passed}, and {self.skipped} skipped" if self.skipped else str(self.passed)


def carriers() -> dict[str, set[str]]:
    """Tests that carry promises, as pytest names them (tests/x.py::test_y), with the rows they are
    of.
    """
    rows: defaultdict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        for test in ast.parse(text).body if "promise(" in text else ():
            for call in ast.walk(test):
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Name)
                    and call.func.id == "promise"
                ):
                    assert isinstance(test, ast.FunctionDef) and test.name.startswith("test_"), path
                    assert isinstance(call.args[0], ast.Constant), path
                    rows[f"{path.relative_to(ROOT).as_posix()}::{test.name}"].add(
                        str(call.args[0].value)
                    )
    return dict(rows)


def run(tests: Iterable[str], options: list[str]) -> list[ElementTree.Element]:
    """The test cases of pytest's own record, of fast tests and slow ones."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.xml"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "",
            "-o",
            "junit_family=xunit1",
            f"--junitxml={record}",
        ]
        subprocess.run([*command, *options, *tests], cwd=ROOT)
        return list(ElementTree.parse(record).iter("testcase")) if record.is_file() else []


def outcomes(cases: Iterable[ElementTree.Element], carried: dict[str, set[str]]) -> dict[str, Row]:
    """The rows, counted.

    A test that failed never said its promise: it counts for those in its source.
    """
    rows = {name: Row() for name in ROWS}
    for case in cases:
        test = case.get("classname", "").replace(".", "/") + ".py::" + case.get("name", "")
        rows_of_test = {name for name in carried.get(test.partition("[")[0], ()) if name in rows}
        states = {child.tag for child in case}
        for name in rows_of_test:
            if states & {"failure", "error"}:
                rows[name].failed.append(test)
            elif "skipped" in states:
                rows[name].skipped += 1
            else:
                rows[name].passed += 1
        for promised in (
            p.get("value", "") for p in case.iter("property") if p.get("name") == "promise"
        ):
            name, count, what = promised.split("|", 2)
            if name in rows_of_test and not states & {"failure", "error", "skipped"}:
                rows[name].faults[what] += int(count)
    return rows


def table(rows: dict[str, Row]) -> str:
    lines = ["| row | what is promised | faults injected | tests |", "|---|---|---|---:|"]
    for name, row in rows.items():
        faults = "; ".join(f"{count:,} {what}" for what, count in row.faults.items())
        lines.append(f"| {name} | {ROWS[name]} | {faults} | {row.tests} |")
    return "\n".join(lines) + "\n"


def page(rows: dict[str, Row]) -> str:
    """docs/trust.md, whole."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    version = f"segue {__version__} ({commit.strip() or 'no commit'}), torch {torch.__version__}"
    tests, faults = (
        sum(row.passed for row in rows.values()),
        sum(row.faults.total() for row in rows.values()),
    )
    day = time.strftime("%Y-%m-%d")
    return f"""# What was broken on purpose

Other programs often fail silently. In segue, a test backs each promise and injects the faults it
is about.
Written on {day} by `python docs/trust.py` for {version}:
{faults:,} faults in {tests} tests. The tests, most of them under `tests/faults`, show how each
fault is injected.

{table(rows)}
`python docs/trust.py --rows P1 P4` runs and prints only these rows.
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", nargs="+", choices=list(ROWS), help="only these; nothing is written"
    )
    arguments, options = parser.parse_known_args()
    chosen = set(arguments.rows or ROWS)
    carried = {test: rows & chosen for test, rows in carriers().items() if rows & chosen}
    rows = {
        name: row
        for name, row in outcomes(run(carried, options), carried).items()
        if name in chosen
    }
    if arguments.rows:
        print(table(rows))
    else:
        PAGE.write_text(page(rows), encoding="utf-8")
    for name, row in rows.items():
        if not row.kept:
            print(f"{name} is not kept: tests: {row.tests}", file=sys.stderr)
    return 0 if all(row.kept for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
