"""Draw what a checkpoint finds in images.

    python scripts/thaw/inference.py images/ --config my.yaml --checkpoint last.ckpt \\
        --preset debug
"""

from pathlib import Path

from segue.compat.common import main
from segue.compat.thaw.inference import command

if __name__ == "__main__":
    main(lambda: command(Path(__file__).parent / "configs" / "default.yaml"))
