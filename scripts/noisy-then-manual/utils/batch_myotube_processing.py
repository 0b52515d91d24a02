"""Label a folder of myotube images by classical image processing.

    python scripts/noisy-then-manual/utils/batch_myotube_processing.py -i max_projected_images \\
        -o myotube_batch_output
"""

from segue.compat.common import main
from segue.compat.noisy_then_manual.batch_myotube_processing import command

if __name__ == "__main__":
    main(command)
