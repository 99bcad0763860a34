"""
`python -m obskit.sqlite_doctor FILE`.
"""

import sys

from obskit.sqlite_doctor.cli import main

if __name__ == "__main__":
    sys.exit(main())
