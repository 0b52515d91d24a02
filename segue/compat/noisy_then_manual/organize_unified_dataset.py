"""Make one folder of labels from image processing and labels made by hand, divided so that no field
of view is in training and in testing: images/ and
annotations/{algorithmic,manual}_{train,test}_annotations.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from segue.data.writing.merge import organise
from segue.errors import show


def command() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--algorithmic_dataset",
        type=Path,
        required=True,
        help="what batch_myotube_processing.py left",
    )
    parser.add_argument(
        "--manual_dataset", type=Path, help="COCO, CVAT XML, LabelMe or VIA; may come later"
    )
    parser.add_argument(
        "--output_dataset", type=Path, default=Path("myotube_dataset"), help="a new folder"
    )
    parser.add_argument(
        "--group", help="regular expression for what belongs together, if names do not say it"
    )
    parser.add_argument("--seed", type=int, default=42)
    args = parser.parse_args()
    lines = organise(
        args.algorithmic_dataset, args.manual_dataset, args.output_dataset, args.seed, args.group
    )
    show("\n".join([f"{args.output_dataset}:", *(f"  {line}" for line in lines)]))
    if args.manual_dataset is None:
        show("no --manual_dataset: stage 1 can run, stage 2 cannot")
