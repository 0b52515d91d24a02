"""Join two COCO files.

    python scripts/noisy-then-manual/utils/combine_coco_annotations.py -f1 a.json -f2 b.json \\
        -o both.json
"""

from segue.compat.common import main
from segue.compat.noisy_then_manual.combine_coco_annotations import command

if __name__ == "__main__":
    main(command)
