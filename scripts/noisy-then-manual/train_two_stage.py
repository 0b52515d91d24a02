"""Train on the algorithm's labels, then on those made by hand.

python scripts/noisy-then-manual/train_two_stage.py --dataset myotube_dataset --num-gpus 1
"""

from pathlib import Path

from segue.compat.common import main
from segue.compat.noisy_then_manual.train_two_stage import command

if __name__ == "__main__":
    main(lambda: command(Path(__file__).parent))
