"""Which images show the same scene, and a split that never separates them.

A field of view is often several files: its colours, its planes in depth, its points in time, its
quadrants, copies of it. With one of them in training and another in validation a model is measured
on what it has seen. What belongs together is read from file names.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import PurePath

from segue.errors import DataError
from segue.structures.seeds import order

COLOURS = (
    "green|grey|gray|red|blue|cyan|magenta|yellow"
    "|dapi|hoechst|gfp|rfp|yfp|cfp|egfp|mcherry|tdtomato|fitc|tritc|cy[357]"
    "|bf|brightfield|phase|dic|fluo|rgb|merged?|composite|overlay|colou?r"
)
# Words between separators that say which view of a field this is, not which field. `s1`, `f01` and
# wells stay.
VIEW = re.compile(
    rf"(?:{COLOURS}|(?:ch|channel|w|c)\d{{1,2}}(?:{COLOURS})?"
    r"|(?:z|t|zplane|plane|slice|page|frame|time|tp)\d+|(?:z|t|c)(?=$)"
    r"|(?:tile|quad|quadrant|crop|patch|part)\d*"
    r"|[tb][lr]|(?:top|bottom|upper|lower)-?(?:left|right)|r\d+c\d+"
    r"|copy\d*|processed|mip|maxproj|projection|resized)"
)
# numbers behind such a word are its own
TILE = re.compile(r"tile|quad|quadrant|crop|patch|part|copy")
# of a plate, in upper case; channels are written c1, c01 or, in front, C1-
WELL = re.compile(r"C\d\d")
# how its exports name copies of an image
ROBOFLOW = re.compile(r"_(?:jpe?g|png|tiff?|bmp|webp)\.rf\.\w+$")
SEPARATORS = re.compile(r"[\s_.,=()\[\]-]+")


def group_of(name: str, pattern: str | None = None) -> str:
    """The group of an image by its name, a path with `/`: equal for views of the same field.

    pattern: a regular expression that is searched in the name without its suffix. With a capture
    group, the group is what the first one holds; without, the group is what is left when all
    matches are removed. A name it does not match is a group of its own.

    Raises:
        DataError: if the pattern is no regular expression.
    """
    path = PurePath(name)
    whole = (path.parent / path.stem).as_posix()
    if pattern is None:
        folders = [
            folder.casefold()
            for folder in path.parent.parts
            if not VIEW.fullmatch(folder.casefold())
        ]
        return "/".join([*folders, _field(ROBOFLOW.sub("", path.stem))])
    try:
        search = re.compile(pattern)
    except re.error as error:
        raise DataError(
            f"--group {pattern}", f"no regular expression ({error})", r"such as '_(green|grey)'"
        ) from None
    if not search.groups:
        return search.sub("", whole)
    match = search.search(whole)
    return match[1] or "" if match else whole


def _field(stem: str) -> str:
    """A file name without the words that say which view of its field it is."""
    kept: list[str] = []
    behind_tile = False
    for number, word in enumerate(filter(None, SEPARATORS.split(stem))):
        lower = word.casefold()
        if behind_tile and word.isdigit():
            continue
        view = VIEW.fullmatch(lower) and not (number and WELL.fullmatch(word))
        behind_tile = bool(view and TILE.match(lower))
        if not view:
            kept.append(lower)
    return "_".join(kept)


def groups(names: Iterable[str], pattern: str | None = None) -> dict[str, list[str]]:
    """The names of each group; groups and names are sorted."""
    members_of: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        members_of.setdefault(group_of(name, pattern), []).append(name)
    return dict(sorted(members_of.items()))


def split_groups(
    names: Iterable[str], shares: Mapping[str, float], seed: int, pattern: str | None = None
) -> dict[str, list[str]]:
    """The sorted names of each split, whole groups only, from the set of names, shares and seed
    alone.

    shares: how much of the images each split should get, in any unit. Large groups are dealt first,
    each to the split that lacks most images; every split gets at least one group.

    Raises:
        DataError: if a share is not above 0, or there are fewer groups than splits.
    """
    wrong = {
        part: share for part, share in shares.items() if not (math.isfinite(share) and share > 0)
    }
    if wrong or not shares:
        raise DataError("shares", f"{wrong or 'none'}", "a number above 0 for each part")
    together = list(groups(names, pattern).items())
    if len(together) < len(shares):
        count = sum(len(members) for _, members in together)
        named = ", ".join(name for name, _ in together[:5])
        too_few = f"{count} images in {len(together)} groups ({named}) for {len(shares)} parts"
        raise DataError(
            "split",
            too_few,
            "at least a group for each part",
            "--group REGEX, if the groups are not right",
        )
    shuffled = [together[index] for index in order(len(together), seed, "split")]
    # stable, so that groups of one size stay shuffled; large ones first, as in bin packing
    shuffled.sort(key=lambda group: -len(group[1]))
    total = sum(len(members) for _, members in together) / sum(shares.values())
    parts: dict[str, list[str]] = {part: [] for part in shares}
    for left, (_, members) in zip(range(len(shuffled), 0, -1), shuffled, strict=True):
        # as many groups remain as splits are empty: each of these gets one
        empty = [part for part in parts if not parts[part]]
        choice = empty if len(empty) >= left else list(parts)
        neediest = max(choice, key=lambda part: shares[part] * total - len(parts[part]))
        parts[neediest] += members
    return {part: sorted(members) for part, members in parts.items()}
