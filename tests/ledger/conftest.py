"""The stand-ins beside this file, for the tests of the ledger and the processes they start."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
