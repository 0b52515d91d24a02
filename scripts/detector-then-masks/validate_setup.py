"""Check the environment, the data set and the weight files before training.

python scripts/detector-then-masks/validate_setup.py --dataset dataset
"""

from segue.compat.common import main
from segue.compat.detector_then_masks.validate_setup import command

if __name__ == "__main__":
    main(command)
