"""A data set without splits, split by the plan; equal files give equal splits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pydantic import Field, model_validator

from segue.base.settings import Settings
from segue.data.records import Split, names_in
from segue.data.scene_groups import split_groups
from segue.errors import DataError


class SplitShares(Settings):
    """Shares of the images that become valid and test, 0 to 1; train is the rest.

    Views of one scene stay together, by their names as `segue data split` reads them. group: a
    regular expression that finds the scene in a name (see `scene_groups.group_of`); `(.*)` makes
    every image a scene of its own.
    """

    valid: float = Field(0.15, gt=0, lt=1)
    test: float = Field(0.0, ge=0, lt=1)
    seed: int = 0
    group: str | None = None

    @model_validator(mode="after")
    def _leaves_something(self) -> SplitShares:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid: {self.valid} and test: {self.test} leave nothing to train on")
        return self


def split_by_shares(
    splits: dict[str, Split], division: SplitShares, root: Path
) -> dict[str, Split]:
    """Split a single split into train, valid and, if it has a share, test; records sorted by name.

    Raises:
        DataError: if there are several splits already, or fewer scenes than splits.
    """
    if len(splits) != 1:
        raise DataError(
            root,
            f"divided already: {', '.join(splits)}",
            "no split: in the plan",
            "leave out data.split",
        )
    (whole,) = splits.values()
    shares = {
        "train": 1 - division.valid - division.test,
        "valid": division.valid,
        "test": division.test,
    }
    shares = {name: share for name, share in shares.items() if share}
    names = names_in(whole.records)
    try:
        dealt = split_groups(names, shares, division.seed, division.group)
    except DataError as error:
        run = (
            "data.split.group: a regular expression that finds the scene in a name; '(.*)' for none"
        )
        raise DataError(f"{root}: data.split", error.found, error.expected, run) from None
    order = sorted(range(len(names)), key=names.__getitem__)
    new_splits = {}
    for name, members in dealt.items():
        chosen = set(members)
        records = [whole.records[number] for number in order if names[number] in chosen]
        problems = whole.problems if name == "train" else []  # reported once
        new_splits[name] = replace(whole, name=name, records=records, problems=problems)
    return new_splits
