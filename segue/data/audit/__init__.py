"""The data doctor: one look at all images and all objects, before anything is trained. It changes nobody's files.

`findings.py` lists every kind of defect and what is done about it. Formats report most of them while reading; what
they cannot see is found here: in a COCO file as written (`coco`), in outlines (`shapes`), in image files
(`pictures`), and in the data set as a whole (`whole`). Each is functions from records to findings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from segue.data.audit import coco, findings, pictures, shapes, whole
from segue.data.audit.findings import Finding
from segue.data.records import Split
from segue.structures.channels import Channel


def audit(
    splits: dict[str, Split],
    channels: Sequence[Channel] | None = None,
    tick: Callable[[int, int], None] = lambda done, total: None,
    pixels: bool = True,
) -> list[Finding]:
    """Everything found in a data set that was read, the gravest first.

    channels: those the images are to have; None takes whatever there are. pixels: decode every image, not only its
    header. tick(done, total) is called after each image.
    """
    found = [finding for split in splits.values() for finding in findings.of_problems(split)]
    outlines = shapes.rings(splits)
    for split in splits.values():
        file = coco.open_file(split)
        found += coco.audit_file(file, outlines) if file is not None else []
    found += [*shapes.tangles(outlines), *shapes.without_masks(outlines), *shapes.twice(outlines)]
    looked = pictures.look(splits, channels, pixels, tick)
    found += looked.findings
    found += whole.same_pictures(looked)
    found += whole.shared_scenes(splits, found)
    found += [*whole.strays(splits), *whole.counts(splits), *whole.classes(splits)]
    return [finding for some in findings.counted(found).values() for finding in some]
