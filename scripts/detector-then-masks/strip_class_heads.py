"""Remove the class heads of a checkpoint.

python scripts/detector-then-masks/strip_class_heads.py best.pt stripped.pth
"""

from segue.compat.common import main
from segue.compat.detector_then_masks.strip_class_heads import command

if __name__ == "__main__":
    main(command)
