"""Detector and masks together, nothing frozen.

python scripts/detector-then-masks/train_seg_single_stage.py --size nano --epochs 50
"""

from segue.compat.common import main
from segue.compat.detector_then_masks.train_seg_single_stage import command

if __name__ == "__main__":
    main(command)
