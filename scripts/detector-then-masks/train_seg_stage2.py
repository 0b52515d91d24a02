"""Stage 2: train a mask head on the frozen detector of stage 1.

    python scripts/detector-then-masks/train_seg_stage2.py --size nano \\
        --stage1_run runs/detector_nano_384_1
"""

from segue.compat.common import main
from segue.compat.detector_then_masks.train_seg_stage2 import command

if __name__ == "__main__":
    main(command)
