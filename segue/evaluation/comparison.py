"""Runs side by side: one row each, sorted by validation AP, with the intervals that tell real
differences from chance.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
from matplotlib.figure import Figure

from segue.evaluation.bootstrap import Difference
from segue.evaluation.report import svg

COMPLETE = "complete"
GREEN = "#2d6a4f"
VERDICTS = {
    "better": "Better than it: {}.",
    "worse": "Worse than it: {}.",
    "unchanged": "The same: {}.",
    "no evidence": "No evidence of a difference from it, because the interval holds 0: {}.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A run. What is not known, because the run is not complete or has no test split, is None.

    state: complete, or what became of it, because of `reason`. values: key, value of what a sweep
    changed. path: of the run's folder. ap, ap50, test_ap: 0..1, of the comparison's kind.
    difference: from the run that all are compared with. seconds: of training.
    """

    name: str
    state: str
    reason: str = ""
    values: tuple[tuple[str, str], ...] = ()
    path: str = ""
    ap: float | None = None
    ap50: float | None = None
    test_ap: float | None = None
    difference: Difference | None = None
    parameters: int | None = None
    ms_per_image: float | None = None
    peak_bytes: int | None = None
    seconds: float | None = None


COSTS: tuple[tuple[str, Callable[[Row], float | None]], ...] = (
    ("speed", lambda row: row.ms_per_image),
    ("size", lambda row: row.parameters),
)

# (key in CSV and JSON, title, value of a row, how the value is shown)
COLUMNS: tuple[tuple[str, str, Callable[[Row], float | int | None], Callable[[Any], str]], ...] = (
    ("valid_ap", "valid AP", lambda row: row.ap, "{:.3f}".format),
    ("valid_ap50", "AP50", lambda row: row.ap50, "{:.3f}".format),
    ("test_ap", "test AP", lambda row: row.test_ap, "{:.3f}".format),
    ("parameters", "parameters", lambda row: row.parameters, "{:,}".format),
    ("ms_per_image", "ms/image", lambda row: row.ms_per_image, "{:.1f}".format),
    ("peak_bytes", "peak MB", lambda row: row.peak_bytes, lambda value: f"{value / 1e6:,.0f}"),
    ("training_seconds", "training s", lambda row: row.seconds, "{:,.1f}".format),
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows, best first and the incomplete ones last.

    kind: box or mask. against: the run that all are compared with. facts: what holds for all of
    them, and how it was measured.
    """

    title: str
    kind: str
    against: str
    rows: tuple[Row, ...]
    facts: dict[str, str]

    @property
    def complete(self) -> list[Row]:
        return [row for row in self.rows if row.state == COMPLETE]

    def pareto(self, row: Row) -> list[str]:
        """Whether a run is on the Pareto front of AP against speed, against size, or both: no other
        run is at least as good in both and better in one.
        """
        if row.state != COMPLETE or row.ap is None:
            return []
        marks: list[str] = []
        for mark, cost in COSTS:
            row_cost = cost(row)
            if not row_cost:  # not measured
                continue
            beaten = False
            for other in self.complete:
                other_cost = cost(other)
                if other.ap is None or other_cost is None:
                    continue
                at_least_as_good = other.ap >= row.ap and other_cost <= row_cost
                beaten |= at_least_as_good and (other.ap, other_cost) != (row.ap, row_cost)
            marks += [] if beaten else [mark]
        return marks

    def verdict(self) -> str:
        """Which differences are real, in a few sentences."""
        done = self.complete
        if not done:
            return "No run is complete, so there is nothing to compare."
        first = next(row for row in done if row.name == self.against)
        highest = "the highest " if first is done[0] else ""
        sentences = [f"{first.name} has {highest}{self.kind}_ap {_shown(first.ap)} in validation."]
        for verdict, words in VERDICTS.items():
            names = [
                row.name
                for row in done
                if row.difference is not None and row.difference.verdict == verdict
            ]
            if names:
                sentences.append(words.format("; ".join(names)))
        # The highest of several figures was partly lucky (the winner's curse).
        if first is done[0] and any(
            row.difference and row.difference.verdict != "unchanged" for row in done
        ):
            sentences.append(
                f"As the highest of {len(done)} on the same images, its own figure is rather too "
                "high."
            )
        missing = len(self.rows) - len(done)
        if missing:
            sentences.append(f"{missing} of {len(self.rows)} are not complete.")
        return " ".join(sentences)

    def as_text(self) -> str:
        """The table for a console, and the verdict below it."""
        head = [
            "",
            *(title for _, title, _, _ in COLUMNS),
            "against " + self.against if self.against else "",
            "Pareto",
        ]
        lines = [head]
        for row in self.rows:
            if row.state == COMPLETE:
                lines.append([row.name, *cells(row), interval(row), " ".join(self.pareto(row))])
            else:
                lines.append([row.name, f"{row.state}: {row.reason}".rstrip(": ")])
        return "\n".join([*_aligned(lines), "", self.verdict()])

    def as_csv(self) -> str:
        keys = list(dict.fromkeys(key for row in self.rows for key, _ in row.values))
        table = [self.as_values(row) for row in self.rows]
        buffer = io.StringIO()
        writer = csv.DictWriter(
            buffer, ["name", "state", "reason", *keys, *list(table[0])[4:]], lineterminator="\n"
        )
        writer.writeheader()
        for values in table:
            swept = values.pop("values")
            writer.writerow({**values, **swept, "pareto": " ".join(values["pareto"])})
        return buffer.getvalue()

    def as_values(self, row: Row) -> dict[str, Any]:
        """A row as plain values."""
        gap = row.difference
        return {
            "name": row.name,
            "state": row.state,
            "reason": row.reason,
            "values": dict(row.values),
            **{name: value(row) for name, _, value, _ in COLUMNS},
            "difference": gap and gap.gain,
            "low": gap and gap.low,
            "high": gap and gap.high,
            "verdict": gap and gap.verdict,
            "pareto": self.pareto(row),
            "run": row.path,
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "against": self.against,
            "verdict": self.verdict(),
            "facts": self.facts,
            "rows": [self.as_values(row) for row in self.rows],
        }

    def as_html(self) -> str:
        """A page that needs no other file. Everything that comes from files is escaped."""
        template = files("segue.evaluation").joinpath("comparison.html").read_text(encoding="utf-8")
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        rows = [
            {
                "row": row,
                "cells": cells(row),
                "interval": interval(row),
                "pareto": ", ".join(self.pareto(row)),
            }
            for row in self.rows
        ]
        titles = [title for _, title, _, _ in COLUMNS]
        curves = [
            self._curve("ms_per_image", "ms/image", "speed"),
            self._curve("parameters", "parameters", "size"),
        ]
        return environment.from_string(template).render(
            page=self,
            rows=rows,
            titles=titles,
            curves=curves if self.complete else [],
            verdict=self.verdict(),
        )

    def _curve(self, cost: str, label: str, mark: str) -> str:
        """AP against a cost; the runs that no other one beats in both are joined."""
        figure = Figure(figsize=(5.2, 3.0))
        axes = figure.subplots()
        points = [(row, getattr(row, cost), row.ap) for row in self.complete if row.ap is not None]
        front = sorted((x, y) for row, x, y in points if mark in self.pareto(row))
        axes.plot([x for x, _ in front], [y for _, y in front], color=GREEN, linewidth=1)
        for row, x, y in points:
            axes.plot(x, y, "o", color=GREEN if (x, y) in front else "#888", markersize=5)
            axes.annotate(row.name, (x, y), (4, 4), textcoords="offset points", fontsize=6)
        axes.set(
            xlabel=label, title=f"{self.kind}_ap (valid); joined: no other run is better in both"
        )
        axes.margins(x=0.25, y=0.2)
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        return svg(figure)


def sorted_rows(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Complete ones by validation AP, the highest first, then the others as they came."""
    done = [row for row in rows if row.state == COMPLETE]
    best = sorted(done, key=lambda row: -1.0 if row.ap is None else row.ap, reverse=True)
    return (*best, *(row for row in rows if row.state != COMPLETE))


def cells(row: Row) -> list[str]:
    """A complete row's figures, as they are shown."""
    return ["-" if value(row) is None else shown(value(row)) for _, _, value, shown in COLUMNS]


def interval(row: Row) -> str:
    """A run's gain over the one that all are compared with, as text; "" without one."""
    gap = row.difference
    return f"{gap.gain:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}), {gap.verdict}" if gap else ""


def _shown(ap: float | None) -> str:
    return "-" if ap is None else f"{ap:.3f}"


def _aligned(lines: list[list[str]]) -> list[str]:
    """Rows of cells as lines in columns; a row with fewer cells does not widen them."""
    full = [line for line in lines if len(line) == len(lines[0])]
    widths = [max(len(line[i]) for line in full) for i in range(len(lines[0]))]
    widths[0] = max(len(line[0]) for line in lines)
    texts = (0, len(widths) - 2, len(widths) - 1)  # aligned left; figures are aligned right
    aligned = []
    for line in lines:
        left = len(line) != len(widths)
        columns = []
        for i, (cell, width) in enumerate(zip(line, widths, strict=False)):
            columns.append(cell.ljust(width) if left or i in texts else cell.rjust(width))
        aligned.append("  ".join(columns).rstrip())
    return aligned
