"""The commands of the recipe thaw; scripts/thaw/ has a door to each."""
