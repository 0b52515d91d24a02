"""Print a command of the README: python .ci/readme_command.py NAME, for the block behind <!-- NAME
-->.
"""

import re
import sys
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"
BLOCK = re.compile(r"<!-- (\w+) -->\n```sh\n(.*?)\n```", flags=re.DOTALL)

commands = dict(BLOCK.findall(README.read_text(encoding="utf-8")))
if len(sys.argv) != 2 or sys.argv[1] not in commands:
    sys.exit(f"usage: python .ci/readme_command.py {'|'.join(commands)}")
print(commands[sys.argv[1]])
