"""Keep some classes of a checkpoint, in every head and by name.

    python scripts/detector-then-masks/shrink_head.py --in_ckpt best.pt --out_ckpt few.pth \\
        --keep cell rod
"""

from segue.compat.common import main
from segue.compat.detector_then_masks.shrink_head import command

if __name__ == "__main__":
    main(command)
