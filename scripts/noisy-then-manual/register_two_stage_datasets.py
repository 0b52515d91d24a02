"""Say what each stage trains and validates on.

python scripts/noisy-then-manual/register_two_stage_datasets.py --dataset_root myotube_dataset
"""

from segue.compat.common import main
from segue.compat.noisy_then_manual.register_two_stage_datasets import command

if __name__ == "__main__":
    main(command)
