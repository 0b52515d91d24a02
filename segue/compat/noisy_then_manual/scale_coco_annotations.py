"""Bring the objects of a COCO file to the size that its images have in a folder, such as larger
originals.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from segue.base.files import write_json
from segue.data.formats import SplitSource
from segue.data.formats import coco as coco_format
from segue.data.images import image_io
from segue.data.records import refuse_errors
from segue.data.writing.coco import coco
from segue.data.writing.folders import named
from segue.data.writing.resize import resized_record
from segue.errors import PlanError, show


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-i", "--input", type=Path, required=True, help="a COCO file")
    parser.add_argument(
        "-d", "--image_dir", type=Path, required=True, help="images of the size that is wanted"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="a new file")
    parser.add_argument("--dry_run", action="store_true", help="say what would be written")
    args = parser.parse_args()
    if args.output.exists():
        raise PlanError(args.output, "exists", "a name that is free")
    split = coco_format.read(SplitSource(args.input, (args.image_dir,)), "all")
    refuse_errors(split.problems, "")
    records = [resized_record(record, *image_io.size(record.image)) for record in split.records]
    changes = Counter(
        f"{old.width} x {old.height} -> {new.width} x {new.height}"
        for old, new in zip(split.records, records, strict=True)
    )
    for change, count in changes.most_common():
        show(f"{count} images {change}")
    show(f"{sum(len(record.annotations) for record in records)} objects")
    if args.dry_run:
        show("nothing written: --dry_run")
        return
    names = {record.id: name for record, name in named(records)}
    write_json(args.output, coco(records, split.categories, lambda record: names[record.id]))
