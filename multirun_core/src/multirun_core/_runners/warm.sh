# shellcheck shell=sh disable=SC2154 # what it reads is set by whom it is a part of
# A warm interpreter: runs that fit are forked from it, see `warm_python/packed.py`. Where it is not
# to be had, runs are started plainly.
#
# This is a part of job.sh, and of the far side of a host. They set mr_here, the directory that it
# lies in with `warm_python`; mr_command, a file with shell text that becomes the interpreter;
# mr_log, a file in which the driver is told why there is none; mr_slots, how many pipes are made to
# answer by; mr_stop, which is not empty once all is over.
#
# In mr_pipes, a directory on this machine: `orders`, `said-SLOT` and `begun`, named pipes; `ended`,
# once it has ended, or is to be asked no more; `late`, since when, in centiseconds since boot, it
# has read no order though somebody waits; `pid`, its process; `holder`, one that holds `orders` for
# somebody, and is ended with it; `out` and `err`, which it writes when it imports.

mr_warm='' mr_keeper=''

# Make the directory.
mr_place() {
    mr_pipes=$(mktemp -d "${TMPDIR:-/tmp}/multirun-XXXXXXXX") || {
        mr_note 'no directory for its pipes can be made'
        return 1
    }
}

# Start it, and wait until it is warm, or is not to be.
mr_warm_up() {
    mr_names='' mr_number=0
    while [ "$mr_number" -lt "$mr_slots" ]; do
        mr_names="$mr_names said-$mr_number"
        mr_number=$((mr_number + 1))
    done
    # shellcheck disable=SC2086 # one word for each
    (cd "$mr_pipes" && mkfifo orders begun $mr_names) || {
        mr_note 'its pipes cannot be made'
        mr_cool
        return
    }
    exec 7<>"$mr_pipes/begun" 8<>"$mr_pipes/orders"
    mr_serve &
    mr_keeper=$!
    (
        IFS= read -r mr_line <&7
        printf '%s\n' "$mr_line" >"$mr_pipes/first"
    ) &
    mr_reader=$!
    mr_until "$mr_reader" 600
    exec 7<&-
    mr_line='ended'
    [ ! -r "$mr_pipes/first" ] || read -r mr_line <"$mr_pipes/first"
    case $mr_line in
    warm) mr_warm=1 ;;
    'refused '*) mr_note "${mr_line#refused }" ;;
    *)
        mr_line=$(tail -n 1 "$mr_pipes/err" 2>/dev/null)
        [ -n "$mr_stop" ] || mr_note "it is not ready: ${mr_line:-it says nothing}"
        ;;
    esac
    [ -n "$mr_warm" ] || mr_cool
}

# Be there as long as it is, tell all who wait for it when it is no more, and be there until nobody
# holds its pipes: what it has forked goes on, and what becomes of that is told by them. Orders that
# it has not read are read, since somebody may be waiting for room.
mr_serve() {
    sh "$mr_command" "$mr_here" "$mr_pipes" </dev/null >"$mr_pipes/out" 2>"$mr_pipes/err" \
        7<&- 8<&- &
    trap '' TERM INT HUP USR1 USR2
    exec 7<&- 8<&-
    echo "$!" >"$mr_pipes/pid"
    wait "$!"
    true >"$mr_pipes/ended"
    for mr_name in "$mr_pipes/begun" "$mr_pipes"/said-*; do
        [ ! -p "$mr_name" ] || echo 'all ended' 1<>"$mr_name"
    done
    [ ! -s "$mr_pipes/holder" ] || { read -r mr_line <"$mr_pipes/holder" && kill "$mr_line"; }
    exec 8<>"$mr_pipes/orders" <"$mr_pipes/orders" 8<&-
    while read -r mr_line; do :; done
} 2>/dev/null

# Wait for process $1, $2 seconds at most, and no longer than this goes on.
mr_until() {
    sleep "$2" 7<&- 8<&- &
    mr_alarm=$!
    while [ -z "$mr_stop" ] && kill -0 "$1" 2>/dev/null && kill -0 "$mr_alarm" 2>/dev/null; do
        sleep 0.05 2>/dev/null || sleep 1
    done
    kill -KILL "$1" "$mr_alarm" 2>/dev/null
    wait "$1" "$mr_alarm" 2>/dev/null
}

# Say to the driver why there is none.
mr_note() { printf 'warm\t%s\n' "$1" >>"$mr_log"; }

# Let the runs of slot $1, which are begun by this process, be forked from it.
mr_use() {
    exec 7<>"$mr_pipes/said-$1"
    MULTIRUN_WARM=$mr_pipes MULTIRUN_SLOT=$1
    export MULTIRUN_WARM MULTIRUN_SLOT
}

# Wait until it has ended, and nobody holds its pipes any more; remove them.
mr_outlive() {
    while [ -n "$mr_keeper" ] && kill -0 "$mr_keeper" 2>/dev/null; do
        wait "$mr_keeper" 2>/dev/null
    done
    rm -rf "$mr_pipes"
}

# End it. Who still holds its pipes after two seconds listens to a run whose wrapper was killed.
mr_cool() {
    exec 8<&-
    mr_served=''
    until [ -z "$mr_keeper" ] || [ -s "$mr_pipes/pid" ] || ! kill -0 "$mr_keeper" 2>/dev/null; do
        sleep 0.05 2>/dev/null || sleep 1
    done
    [ ! -s "$mr_pipes/pid" ] || read -r mr_served <"$mr_pipes/pid"
    [ -z "$mr_served" ] || kill -KILL "$mr_served" 2>/dev/null
    mr_tries=0
    while [ "$mr_tries" -lt 100 ] && [ -n "$mr_keeper" ] && kill -0 "$mr_keeper" 2>/dev/null; do
        sleep 0.02 2>/dev/null || { sleep 1 && mr_tries=$((mr_tries + 49)); }
        mr_tries=$((mr_tries + 1))
    done
    [ -z "$mr_keeper" ] || kill -KILL "$mr_keeper" 2>/dev/null
    mr_outlive
}
