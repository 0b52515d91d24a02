"""Bring the objects of a COCO file to the size of other images.

    python scripts/noisy-then-manual/utils/scale_coco_annotations.py -i small.json \\
        -d large_images/ -o large.json
"""

from segue.compat.common import main
from segue.compat.noisy_then_manual.scale_coco_annotations import command

if __name__ == "__main__":
    main(command)
