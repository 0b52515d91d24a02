"""The audit: one look at all images and all objects, before anything is trained. It changes
nobody's files.

`segue/data/problems.py` lists every kind of problem and what is done about it. Formats report most
of them while reading; what they cannot see is found here: in a COCO file as written (`coco`), in
`outlines`, in `images`, and in the `dataset` as a whole. Each is functions from records to
problems.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

from segue.data.audit import coco, dataset, images, outlines
from segue.data.problems import Problem, by_kind
from segue.data.records import Split
from segue.structures.channels import Channel


def audit(
    splits: dict[str, Split],
    channels: Sequence[Channel] | None = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
    pixels: bool = True,
) -> list[Problem]:
    """Everything found in a data set that was read, the gravest first.

    channels: those the images are to have; None takes whatever there are. pixels: decode every
    image, not only its header. tick(done, total) is called after each image.
    """
    problems = [
        replace(problem, split=split.name)
        for split in splits.values()
        for problem in split.problems
    ]
    rings = outlines.rings(splits)
    for split in splits.values():
        file = coco.open_file(split)
        problems += coco.audit_file(file, rings) if file is not None else []
    problems += [*outlines.tangles(rings), *outlines.without_masks(rings), *outlines.twice(rings)]
    looked = images.look(splits, channels, pixels, tick)
    problems += looked.problems
    problems += dataset.same_pictures(looked)
    problems += dataset.shared_scenes(splits, problems)
    problems += [*dataset.strays(splits), *dataset.counts(splits), *dataset.classes(splits)]
    return list(chain.from_iterable(by_kind(problems).values()))
