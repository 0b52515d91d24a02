"""Stage 1: train a detector on boxes.

    python scripts/detector-then-masks/train_detector_stage1.py --size nano --epochs 50 \\
        --batch 2 --accum 8
"""

from segue.compat.common import main
from segue.compat.detector_then_masks.train_detector_stage1 import command

if __name__ == "__main__":
    main(command)
