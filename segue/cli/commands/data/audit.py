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
from segue.data.problems import ACTIONS, Finding, counted, plain, refused
from segue.data.quarantine import listed
from segue.data.records import Split
from segue.data.writing.folders import new_folder
from segue.errors import DataError, printable, show
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
        found = audit(splits, None, tick, pixels=not quick)
    if out is not None:
        write_audit(out, folder, found, splits)
    show(json.dumps([finding.as_dict() for finding in found]) if as_json else table(found, splits))
    if bad := refused(found):
        first = f"{bad[0].place}: {bad[0].kind}: {bad[0].found}"
        hint = "data.quarantine in the plan leaves out what is listed" if out is not None else ""
        hint = hint or f"segue data audit {folder} --out FOLDER"
        if any(finding.action == "error" for finding in bad):
            hint = "mend in a copy what is called error; for the rest " + hint
        raise DataError(
            folder, f"{len(bad)} findings that training refuses (first: {first})", "none", hint
        )


def table(found: Sequence[Finding], splits: dict[str, Split]) -> str:
    """Each kind of defect with its count, what is done, and the first places."""
    lines = [f"{name}: {_counts(split)}" for name, split in splits.items()]
    for kind, some in counted(found).items():
        lines.append(f"{some[0].action:10}  {len(some):6,}  {kind}: {some[0].done}")
        lines += [f"{'':20}{_place(one, splits)}{one.found}" for one in some[:SHOWN]]
        if len(some) > SHOWN:
            lines.append(f"{'':20}and {len(some) - SHOWN:,} more")
    return "\n".join([*lines, verdict(found)])


def _place(finding: Finding, splits: dict[str, Split]) -> str:
    """Part and ids; the file, where it is not the part's own."""
    split = splits.get(finding.part)
    known = split is not None and str(split.source) == finding.file
    place = (
        finding.place.removeprefix(printable(finding.file)).removeprefix(": ")
        if known
        else finding.place
    )
    return ": ".join(filter(None, [finding.part, place])) + ": "


def verdict(found: Sequence[Finding]) -> str:
    """How many of each action, in one line."""
    counts = {action: sum(finding.action == action for finding in found) for action in ACTIONS}
    words = [f"{count:,} {action}" for action, count in counts.items() if count]
    return ", ".join(words) if words else "nothing found"


def write_audit(
    out: Path, folder: Path, found: Sequence[Finding], splits: dict[str, Split]
) -> None:
    """findings.json, quarantine.json and audit.html in a new folder."""
    facts = {name: _counts(split) for name, split in splits.items()}
    page = audit_page.render(
        f"Audit of {plain(folder)}", {**facts, "found": verdict(found)}, found, splits
    )
    with new_folder(out) as unfinished:
        write_json(unfinished / "findings.json", [finding.as_dict() for finding in found])
        write_json(unfinished / "quarantine.json", listed(found))
        (unfinished / "audit.html").write_text(page, encoding="utf-8", errors="backslashreplace")


def _counts(split: Split) -> str:
    objects = sum(len(record.annotations) for record in split.records)
    return f"{len(split.records):,} images, {objects:,} objects in {plain(split.source)}"
