"""Train backbones one after another, and keep the best weights of each.

python scripts/rgbx-sweep/train_all_backbones.py --data data/ --epochs 5
"""

from segue.compat.common import main
from segue.compat.rgbx_sweep.train_all_backbones import command

if __name__ == "__main__":
    main(command)
