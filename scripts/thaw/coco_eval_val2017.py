"""The twelve COCO figures of a checkpoint on the validation images.

python scripts/thaw/coco_eval_val2017.py --config my.yaml --checkpoint last.ckpt
"""

from pathlib import Path

from segue.compat.common import main
from segue.compat.thaw.coco_eval_val2017 import command

if __name__ == "__main__":
    main(lambda: command(Path(__file__).parent / "configs" / "default.yaml"))
