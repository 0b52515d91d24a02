"""`segue data audit`: everything that is wrong with a data set, as a table, as JSON and as a page
with pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from segue.base.files import write_json
from segue.data.audit import audit
from segue.data.dataset import Data, read_splits
from segue.data.problems import ACTIONS, Place, Problem, by_kind, plain, refused
from segue.data.quarantine import listed
from segue.data.records import Split
from segue.data.writing.folders import new_folder
from segue.errors import DataError, show
from segue.evaluation import audit_page
from segue.run.console import Console

SHOWN = 2  # places of each kind in the table


def audit_data(folder: Path, out: Path | None, quick: bool, as_json: bool) -> None:
    """Audit a data set; print what was found and write it to `out`.

    Raises:
        DataError: if anything keeps the data from being trained on; the table is printed first.
        PlanError: if `out` exists.
    """
    splits = read_splits(Data(root=folder))
    with Console().progress("looking at images") as tick:
        problems = audit(splits, None, tick, pixels=not quick)
    if out is not None:
        write_audit(out, folder, problems, splits)
    if as_json:
        show(json.dumps([problem.as_dict() for problem in problems]))
    else:
        show(table(problems, splits))
    if bad := refused(problems):
        first = f"{bad[0].where}: {bad[0].kind}: {bad[0].message}"
        hint = "data.quarantine in the plan leaves out what is listed" if out is not None else ""
        hint = hint or f"segue data audit {folder} --out FOLDER"
        if any(problem.action == "error" for problem in bad):
            hint = "correct in a copy what is called error; for the rest " + hint
        raise DataError(
            folder, f"{len(bad)} findings that training refuses (first: {first})", "none", hint
        )


def table(problems: Sequence[Problem], splits: dict[str, Split]) -> str:
    """Each kind of problem with its count, what is done, and the first places."""
    lines = [f"{name}: {_counts(split)}" for name, split in splits.items()]
    for kind, same in by_kind(problems).items():
        lines.append(f"{same[0].action:10}  {len(same):6,}  {kind}: {same[0].row.advice}")
        for problem in same[:SHOWN]:
            place = _place(problem.split, problem.place, splits)
            lines.append(f"{'':20}{place}: {problem.message}")
        if len(same) > SHOWN:
            lines.append(f"{'':20}and {len(same) - SHOWN:,} more")
    return "\n".join([*lines, verdict(problems)])


def _place(name: str, place: Place, splits: dict[str, Split]) -> str:
    """The split's name and the place; without the file, where it is the split's own."""
    split = splits.get(name)
    known = split is not None and str(split.source) == place.file
    return ": ".join(filter(None, [name, place.within if known else str(place)]))


def verdict(problems: Sequence[Problem]) -> str:
    """How many problems of each action, in one line."""
    counts = {action: sum(problem.action == action for problem in problems) for action in ACTIONS}
    words = [f"{count:,} {action}" for action, count in counts.items() if count]
    return ", ".join(words) if words else "nothing found"


def write_audit(
    out: Path, folder: Path, problems: Sequence[Problem], splits: dict[str, Split]
) -> None:
    """findings.json, quarantine.json and audit.html in a new folder."""
    facts = {name: _counts(split) for name, split in splits.items()}
    page = audit_page.render(
        f"Audit of {plain(folder)}", {**facts, "found": verdict(problems)}, problems, splits
    )
    with new_folder(out) as unfinished:
        write_json(unfinished / "findings.json", [problem.as_dict() for problem in problems])
        write_json(unfinished / "quarantine.json", listed(problems))
        (unfinished / "audit.html").write_text(page, encoding="utf-8", errors="backslashreplace")


def _counts(split: Split) -> str:
    objects = sum(len(record.annotations) for record in split.records)
    return f"{len(split.records):,} images, {objects:,} objects in {plain(split.source)}"
