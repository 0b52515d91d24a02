"""`python -m segue`."""

import sys

from segue.cli.app import main

sys.exit(main())
