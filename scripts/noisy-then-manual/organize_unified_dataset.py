"""Join the algorithm's labels and those made by hand in one data set.

    python scripts/noisy-then-manual/organize_unified_dataset.py \\
        --algorithmic_dataset myotube_batch_output --manual_dataset manual/
"""

from segue.compat.common import main
from segue.compat.noisy_then_manual.organize_unified_dataset import command

if __name__ == "__main__":
    main(command)
