"""Draw a sample of the data, and what a model finds in it.

python scripts/rgbx-sweep/visualize.py --data data --vis 0
"""

from segue.compat.common import main
from segue.compat.rgbx_sweep.visualize import command

if __name__ == "__main__":
    main(command)
