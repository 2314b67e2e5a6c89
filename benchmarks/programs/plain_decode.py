"""Read and decode every line of a sweep's journal. Argument: SWEEP."""

import json
import sys
from pathlib import Path

for segment in sorted(Path(sys.argv[1], "journal").glob("*.jsonl")):
    with segment.open("rb") as file:
        for line in file:
            json.loads(line)
