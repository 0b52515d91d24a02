"""Train one stage, or evaluate it.

    python scripts/noisy-then-manual/train_net.py \\
        --config-file stage1_config.yaml SOLVER.MAX_ITER 1500
"""

from segue.compat.common import main
from segue.compat.noisy_then_manual.train_net import command

if __name__ == "__main__":
    main(command)
