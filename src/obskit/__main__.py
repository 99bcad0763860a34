"""
`python -m obskit SUBJECT`.
"""

import sys

from obskit.cli.front import main

if __name__ == "__main__":
    sys.exit(main())
