"""Measure a model on the test images, and draw what it finds there.

python scripts/rgbx-sweep/test.py --data data --model crossattentiondet.pth
"""

from segue.compat.common import main
from segue.compat.rgbx_sweep.test import command

if __name__ == "__main__":
    main(command)
