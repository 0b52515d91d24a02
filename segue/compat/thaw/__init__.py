"""The recipe thaw; scripts/thaw/ has a door to each command."""
