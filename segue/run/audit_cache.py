"""The audit as the first step of every run: done once for the same bytes, under any file names."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from segue import __version__
from segue.base.files import write_json
from segue.base.parsing import read_json
from segue.data.audit import audit
from segue.data.dataset import DataSet
from segue.data.problems import by_kind, refused, summary
from segue.errors import DataError
from segue.structures.channels import Channel

FOLDER = ".audited"  # in the folder of runs
NOTED_ANYWAY = {"category without objects"}  # by the data set's own notes


def audited(
    data: DataSet,
    channels: Sequence[Channel],
    runs: Path,
    tick: Callable[[int, int], None],
    run: str,
) -> dict[str, str]:
    """A line for each kind of problem that the reading of the data did not report already.

    They are read from what `keep` has written, if it knows this data. run: what to type when
    something is wrong.

    Raises:
        DataError: the first problem for which training refuses the data.
    """
    known = _known(runs, data.manifest)
    if known is not None:
        return known
    problems = audit(data.splits, channels, tick)
    if bad := refused(problems):
        more = f" ({len(bad) - 1} more errors)" if len(bad) > 1 else ""
        raise DataError(bad[0].where, f"{bad[0].kind}: {bad[0].message}{more}", next_step=run)
    noted = {(p.kind, p.place) for split in data.splits.values() for p in split.problems}
    rest = by_kind(
        problem
        for problem in problems
        if problem.kind not in NOTED_ANYWAY and (problem.kind, problem.place) not in noted
    )
    return {kind: summary(same) for kind, same in rest.items()}


def keep(runs: Path, lines: Mapping[str, dict[str, str]]) -> None:
    """Write down that data were audited, below the folder of runs.

    lines: by manifest, which says what the data are.
    """
    for manifest, by_kind_lines in lines.items():
        if _known(runs, manifest) is None:
            write_json(_place(runs, manifest), {"segue": __version__, "lines": by_kind_lines})


def _place(runs: Path, manifest: str) -> Path:
    return runs / FOLDER / f"{manifest}.json"


def _known(runs: Path, manifest: str) -> dict[str, str] | None:
    try:
        content = read_json(_place(runs, manifest))
        lines = {str(kind): str(line) for kind, line in content["lines"].items()}
        return lines if content["segue"] == __version__ else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
