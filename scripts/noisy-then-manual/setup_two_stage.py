"""Check that both stages can start.

python scripts/noisy-then-manual/setup_two_stage.py
"""

from pathlib import Path

from segue.compat.common import main
from segue.compat.noisy_then_manual.setup_two_stage import command

if __name__ == "__main__":
    main(lambda: command(Path(__file__).parent))
