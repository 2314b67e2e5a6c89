"""Read the bytes of a sweep's journal. Argument: SWEEP."""

import sys
from pathlib import Path

for segment in Path(sys.argv[1], "journal").glob("*.jsonl"):
    segment.read_bytes()
