"""The command line: `app` has the verbs, `data` and `label` those of their groups, `commands` what
each one does.
"""

from segue.cli.app import main

__all__ = ["main"]
