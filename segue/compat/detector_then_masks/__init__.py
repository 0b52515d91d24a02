"""The recipe detector-then-masks; scripts/detector-then-masks/ has a door to each command."""
