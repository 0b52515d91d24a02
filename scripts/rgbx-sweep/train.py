"""Train one backbone.

    python scripts/rgbx-sweep/train.py --data data --backbone mit_b1 --epochs 15 \\
        --model crossattentiondet.pth
"""

from segue.compat.common import main
from segue.compat.rgbx_sweep.train import command

if __name__ == "__main__":
    main(command)
