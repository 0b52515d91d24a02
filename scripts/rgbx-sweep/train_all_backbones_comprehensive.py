"""Train backbones one after another, and write down every epoch and batch.

    python scripts/rgbx-sweep/train_all_backbones_comprehensive.py --data data/ --epochs 30 \\
        --backbones mit_b0 mit_b1
"""

from segue.compat.common import main
from segue.compat.rgbx_sweep.train_all_backbones_comprehensive import command

if __name__ == "__main__":
    main(command)
