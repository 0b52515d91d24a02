"""The verbs of `segue data`."""
