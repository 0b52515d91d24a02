"""How many queries a model has: decided when a plan leaves it open, and kept when weights have
more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from segue.errors import HandoverError, PlanError


class QueryLayout(NamedTuple):
    """How the rows of a table of queries are laid out: `groups` times `queries` of each group."""

    queries: int
    groups: int = 1


def resolve_queries(
    chosen: int | None, published: int, most_objects: int, most_queries: int | None = None
) -> tuple[int, list[str]]:
    """The number of queries (of one group), and a note if it is not the published one by choice of
    ours.

    chosen: by the plan; None leaves it open. published: of the size. most_objects: the largest
    number of objects in one image of the data. most_queries: how many the input has room for, in
    families whose queries are chosen from feature cells; None for no limit.

    Raises:
        PlanError: if an image has more objects than queries.
    """
    queries = chosen
    notes: list[str] = []
    if queries is None:
        # a quarter more than the fullest image, for objects not seen yet
        queries = max(published, -(-most_objects * 5 // 4))
        queries = queries if most_queries is None else min(queries, most_queries)
        if queries != published:
            notes = [
                f"queries {queries} instead of {published}: an image has {most_objects} objects"
            ]
    if most_objects > queries:
        raise PlanError(
            "model.queries",
            f"{queries} for an image with {most_objects} objects",
            f"at least {most_objects}",
            "set model.queries" + (", or raise resolution" if most_queries is not None else ""),
        )
    return queries, notes


def keep_queries(
    weights: dict[str, Tensor], tables: Sequence[str], have: QueryLayout, layout: QueryLayout
) -> list[str]:
    """Cut tables of queries (groups * queries, ...) to the model's layout, in place, and say so.

    The first rows of the first groups are kept: in the published weights they are not sorted, so
    that the first are as good as any, and a later stage keeps the same ones.

    Raises:
        HandoverError: if the weights have fewer of either. Rows cannot be made up.
    """
    notes = []
    for what in ("groups", "queries"):
        given, needed = getattr(have, what), getattr(layout, what)
        if needed > given:
            raise HandoverError(
                f"model.{what}", f"{needed}, but the weights have {given}", f"model.{what}: {given}"
            )
        if needed < given:
            notes.append(f"{what} {given} -> {needed}: the first {needed} kept")
    for name in tables if notes else ():
        grouped = weights[name].unflatten(0, (have.groups, have.queries))
        weights[name] = grouped[: layout.groups, : layout.queries].flatten(0, 1).clone()
    return notes
