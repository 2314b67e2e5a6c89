#!/bin/sh
# Pack MULTIRUN_PARAM_LINES lines of numbers at gzip's level MULTIRUN_PARAM_LEVEL.
set -eu

seq "$MULTIRUN_PARAM_LINES" >data.txt
gzip -c "-$MULTIRUN_PARAM_LEVEL" data.txt >data.txt.gz

before=$(wc -c <data.txt)
after=$(wc -c <data.txt.gz)

# Written aside and renamed, so that nobody ever reads half of it.
printf '{"bytes": %d, "packed_bytes": %d}\n' "$before" "$after" >results.json.part
mv results.json.part results.json
