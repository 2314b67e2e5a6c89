#!/bin/sh
# Becomes a submit command, and leaves in a submission's directory who does so and what was said.
#
#   sh submit.sh DIR STOP COMMAND...
#
# `client` is written before the files `stop` and STOP are looked for, and whoever takes over writes
# one of them before it looks for `client`: so it either finds this process, or nothing is submitted.
set -u
mr_here=$1 mr_stop=$2
shift 2
read -r mr_boot </proc/sys/kernel/random/boot_id
read -r mr_host </proc/sys/kernel/hostname
mr_stat=
while read -r mr_rest; do mr_stat=$mr_stat$mr_rest; done <"/proc/$$/stat"
mr_start=$(set -- ${mr_stat##*) } && echo "${20}") # the 22nd field, see proc(5)
rm -f "$mr_here/answer" "$mr_here/complaint"
printf '%s\t%s\t%s\t%s\t.\n' "$mr_host" "$mr_boot" "$$" "$mr_start" >"$mr_here/client.part" &&
    mv "$mr_here/client.part" "$mr_here/client" || exit 74
[ ! -e "$mr_here/stop" ] && [ ! -e "$mr_here/$mr_stop" ] || exit 75
unset mr_stop mr_boot mr_host mr_stat mr_rest mr_start
exec "$@" >"$mr_here/answer" 2>"$mr_here/complaint"
