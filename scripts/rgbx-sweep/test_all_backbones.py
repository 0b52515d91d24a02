"""Measure what was trained of each backbone on the test images.

python scripts/rgbx-sweep/test_all_backbones.py --data data/
"""

from segue.compat.common import main
from segue.compat.rgbx_sweep.test_all_backbones import command

if __name__ == "__main__":
    main(command)
