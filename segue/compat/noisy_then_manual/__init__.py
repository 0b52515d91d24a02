"""The recipe noisy-then-manual; scripts/noisy-then-manual/ has a door to each command."""
