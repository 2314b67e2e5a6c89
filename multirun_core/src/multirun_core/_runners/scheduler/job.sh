#!/bin/sh
# Carries out the runs of one task of a submission, by `wrapper.sh`: POSIX sh on Linux.
#
#   sh job.sh DIR TASK RESTART
#
# DIR is the directory of the submission. In it: `plan`, shell text that sets mr_size (runs in a
# task), mr_slots (how many at once) and mr_base (what relative run directories begin with); `runs`,
# a line for each run with its attempt and its directory, in which what is not plain is escaped as
# printf(1) has it for %b. Where there are `warm` and `warm.sh`, runs may be forked from an
# interpreter that this makes warm first.
#
# TERM ends all runs of the task, each with its own grace. HUP ends those whose claim holds a file
# `ending`. USR1 and USR2 are passed on to all, also to those that begin later.
#
# All variables begin with mr_, since one that the caller had exported would reach the programs.
set -u

mr_here=$1 mr_task=$2 mr_restart=$3
mr_stop='' mr_pid='' mr_workers='' mr_failed=0 mr_told=''

# Note what all runs are to be told, and tell it to who carries them out: one wrapper, or workers.
mr_warn() {
    mr_told="$mr_told $1"
    # shellcheck disable=SC2086 # numbers
    mr_pass "$1" $mr_pid $mr_workers
}

# Have a signal sent to processes when they can hear it. By nobody's child, since this may come at any
# moment, and others want to know $!.
mr_pass() {
    (sh "$mr_here/wrapper.sh" pass "$@" </dev/null >/dev/null 2>&1 3<&- 7<&- 8<&- &)
}

mr_listen_to_warnings() {
    trap 'mr_warn USR1' USR1
    trap 'mr_warn USR2' USR2
}
mr_listen_to_warnings

if [ "$mr_restart" -gt 0 ]; then
    # What was begun may still go on where it was lost. The next attempt is begun by the driver,
    # in a directory that has been put back in order, and under a number of its own.
    echo "multirun: task $mr_task was started anew by the queue system; it leaves that to multirun"
    exit 75
fi
# shellcheck disable=SC1091 # written beside it
. "$mr_here/plan"

# Set mr_dir, mr_attempt and mr_claim from a line of `runs`.
mr_read() {
    mr_attempt=${1%% *}
    mr_dir=${1#* }
    case $mr_dir in
    *\\*)
        mr_dir=$(printf '%b.' "$mr_dir")
        mr_dir=${mr_dir%.}
        ;;
    esac
    case $mr_dir in /*) ;; *) mr_dir=$mr_base/$mr_dir ;; esac
    mr_claim=$mr_dir/.multirun/claim-$mr_attempt
}

# Wait for process $1 to its end, through signals; set mr_code.
mr_await() {
    while :; do
        wait "$1"
        mr_code=$?
        kill -0 "$1" 2>/dev/null || break
    done
    [ "$mr_code" -gt 128 ] || return 0
    wait "$1" 2>/dev/null # a signal may have come as it ended
    mr_again=$?
    [ "$mr_again" -eq 127 ] || mr_code=$mr_again
}

# Carry out the run of line $1, unless somebody else does.
mr_carry_out() {
    [ -z "$mr_stop" ] || return 0
    mr_read "$1"
    [ ! -d "$mr_claim" ] && [ -e "$mr_dir/.multirun/order" ] || return 0
    mr_before=$mr_told
    MULTIRUN_TOLD=$mr_before \
        sh "$mr_here/wrapper.sh" run "$mr_dir" "$mr_attempt" </dev/null 3<&- &
    mr_pid=$! mr_late=${mr_told#"$mr_before"}
    for mr_signal in $mr_late; do mr_pass "$mr_signal" "$mr_pid"; done # it came just before
    [ -z "$mr_stop" ] || kill -TERM "$mr_pid" 2>/dev/null # the signal came just before
    mr_await "$mr_pid"
    mr_pid=''
    [ "$mr_code" -ne 3 ] || return 0
    mr_end=''
    [ ! -r "$mr_claim/exit" ] || read -r mr_end <"$mr_claim/exit"
    # One that was killed has left somebody who would hear what is meant for the next in this slot.
    [ -n "$mr_end" ] || [ "$mr_code" -lt 128 ] || MULTIRUN_WARM=''
    case $mr_end in end"$mr_tab"*"$mr_tab"*"$mr_tab"*"$mr_tab"0"$mr_tab"-*) ;; *) mr_failed=1 ;; esac
}

# A job that was told to end says so, and differs from one that was never begun.
mr_finish() {
    [ -z "$mr_stop" ] || exit 79
    exit "$mr_failed"
}

mr_tell() { [ -z "$mr_pid" ] || kill -s "$1" "$mr_pid" 2>/dev/null; }

mr_look() {
    [ -n "$mr_pid" ] || return 0
    ls "$mr_claim" >/dev/null 2>&1 # a network file system looks anew
    [ ! -e "$mr_claim/ending" ] || kill -TERM "$mr_pid" 2>/dev/null
}

mr_listen() {
    trap 'mr_stop=1; mr_tell TERM' TERM INT
    trap mr_look HUP
}

# One of several that work at once: its own share of the lines, then what others have not begun.
mr_work() {
    mr_turn=0 mr_workers=''
    mr_listen_to_warnings
    mr_listen
    [ -z "$mr_warm" ] || mr_use "$1"
    while IFS= read -r mr_line <&3; do
        [ $((mr_turn % mr_slots)) -ne "$1" ] || mr_carry_out "$mr_line"
        mr_turn=$((mr_turn + 1))
    done 3<<EOF
$mr_lines
EOF
    while IFS= read -r mr_line <&3; do
        mr_carry_out "$mr_line"
    done 3<<EOF
$mr_lines
EOF
    exit "$mr_failed"
}

mr_tell_all() {
    for mr_worker in $mr_workers; do kill -s "$1" "$mr_worker" 2>/dev/null; done
}

mr_tab='	'
mr_first=$((mr_task * mr_size + 1))
mr_lines=$(sed -n "$mr_first,$((mr_first + mr_size - 1))p" "$mr_here/runs")
[ -n "$mr_lines" ] || {
    echo "multirun: $mr_here/runs has no line $mr_first" >&2
    exit 74
}
if [ "$mr_size" -eq 1 ]; then
    mr_listen
    mr_carry_out "$mr_lines"
    mr_finish
fi

# The time is asked for once: the boot by its clock and the seconds since then do for all runs.
mr_now=$(date +%s.%N)
read -r mr_up mr_rest </proc/uptime
case $mr_now in
*[!0-9.]*) ;;
*)
    mr_part=${mr_now#*.}0 mr_up_part=${mr_up#*.}0
    mr_cs=$((${mr_now%.*} * 100 + 1${mr_part%"${mr_part#??}"} - ${mr_up%.*} * 100 - 1${mr_up_part%"${mr_up_part#??}"}))
    mr_part=$((100 + mr_cs % 100))
    MULTIRUN_BOOTED=$((mr_cs / 100)).${mr_part#1}
    export MULTIRUN_BOOTED
    ;;
esac
trap 'mr_stop=1; mr_tell_all TERM' TERM INT
trap 'mr_tell_all HUP' HUP
mr_warm=''
if [ -r "$mr_here/warm" ]; then
    # shellcheck disable=SC1091 # written beside it
    . "$mr_here/warm.sh"
    mr_command=$mr_here/warm mr_log=$mr_here/log
    ! mr_place || mr_warm_up
fi
mr_number=0
while [ "$mr_number" -lt "$mr_slots" ]; do
    mr_before=$mr_told
    (mr_work "$mr_number") &
    mr_workers="$mr_workers $!" mr_late=${mr_told#"$mr_before"}
    for mr_signal in $mr_late; do mr_pass "$mr_signal" "$!"; done # it came just before
    mr_number=$((mr_number + 1))
done
[ -z "$mr_stop" ] || mr_tell_all TERM
for mr_worker in $mr_workers; do
    mr_await "$mr_worker"
    [ "$mr_code" -eq 0 ] || mr_failed=1
done
[ -z "$mr_warm" ] || mr_cool
mr_finish
