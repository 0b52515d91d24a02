"""Fine-tune DETR or Conditional DETR as a configuration file says.

python scripts/thaw/train.py --config scripts/thaw/configs/default.yaml
"""

from pathlib import Path

from segue.compat.common import main
from segue.compat.thaw.train import command

if __name__ == "__main__":
    main(lambda: command(Path(__file__).parent / "configs" / "default.yaml"))
