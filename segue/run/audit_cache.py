"""The audit as the first step of every run: done once for the same bytes, whatever they are called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from segue import __version__
from segue.base.files import write_json
from segue.base.parsing import read_json
from segue.data.audit import audit
from segue.data.dataset import DataSet
from segue.data.problems import counted, refused, summed
from segue.errors import DataError
from segue.structures.channels import Channel

FOLDER = ".audited"  # in the folder of runs
SAID_ANYWAY = {"category without objects"}  # by the data set's own notes


def audited(
    data: DataSet,
    channels: Sequence[Channel],
    runs: Path,
    tick: Callable[[int, int], None],
    run: str,
) -> dict[str, str]:
    """A line for each kind of finding that the reading of the data did not report already.

    They are read from what `keep` has written, if it knows this data. run: what to type when
    something is wrong.

    Raises:
        DataError: the first finding that training refuses.
    """
    known = _known(runs, data.manifest)
    if known is not None:
        return known
    found = audit(data.splits, channels, tick)
    if bad := refused(found):
        more = f" ({len(bad) - 1} more errors)" if len(bad) > 1 else ""
        raise DataError(bad[0].place, f"{bad[0].kind}: {bad[0].found}{more}", next_step=run)
    unsaid = counted(one for one in found if not one.where and one.kind not in SAID_ANYWAY)
    return {kind: summed(some) for kind, some in unsaid.items()}


def keep(runs: Path, lines: Mapping[str, dict[str, str]]) -> None:
    """Write down that data were audited, below the folder of runs.

    lines: by manifest, which says what the data are.
    """
    for manifest, some in lines.items():
        if _known(runs, manifest) is None:
            write_json(_place(runs, manifest), {"segue": __version__, "lines": some})


def _place(runs: Path, manifest: str) -> Path:
    return runs / FOLDER / f"{manifest}.json"


def _known(runs: Path, manifest: str) -> dict[str, str] | None:
    try:
        content = read_json(_place(runs, manifest))
        lines = {str(kind): str(line) for kind, line in content["lines"].items()}
        return lines if content["segue"] == __version__ else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
