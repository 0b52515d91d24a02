"""The verbs of `segue label`."""
