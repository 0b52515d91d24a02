"""The recipe rgbx-sweep; scripts/rgbx-sweep/ has a door to each command."""
