#!/bin/sh
# The far side of a host: POSIX sh on Linux, with setsid, tail and the usual file tools. It lies
# beside wrapper.sh, which carries runs out, and warm.sh where runs may be forked.
#
# FOLDER is the directory of the sweep's runs on this host; a run is known by NAME, its own in that,
# or by the whole path DIR where runs are carried out in a shared file system.
#
#   begin FOLDER                     make the folder; print the size of its log, the CPUs
#   start FOLDER PIPES NAME DIR ATTEMPT SLOT …
#                                    start runs, detached, each claimed by its wrapper, which asks in
#                                    PIPES for a fork, unless SLOT is -; print "cold" where nobody
#                                    is there to ask
#   warm FOLDER SECONDS BYTES        have an interpreter made warm by the shell text that comes, and
#                                    print its PIPES, then as below; it ends once the driver has been
#                                    silent for so long and no run needs it, or another is made
#   warmed PIPES                     wait for it, some seconds at most; say "warm", "waits" or "cold"
#   cool FOLDER                      end all of these
#   follow FOLDER OFFSET             print the log from there on, for ever; each line that comes is
#                                    a sign of life of the driver
#   guard FOLDER SECONDS GRACE WORD  end all runs once the driver has been silent for so long
#   look DIR ATTEMPT …               say what is known of runs
#   end GRACE REASON DIR ATTEMPT …   end runs
#   leave BASE FOLDER                remove what is left when no run is
set -u
here=${0%/*}
verb=$1
shift

detached() { setsid sh "$@" </dev/null >/dev/null 2>&1 & }

# Print what the wrapper says of a run, after its place in the list.
tell() {
    place=$1
    shift
    if [ -d "$2/.multirun" ]; then
        said=$(sh "$here/wrapper.sh" "$@" 2>&1) || said="failed	$said"
    else
        said=absent
    fi
    printf '%s\t%s\n' "$place" "$said"
}

# Whether the directory $1 is this user's own, and no link that somebody has put there.
# shellcheck disable=SC3067 # -O: in dash, bash and busybox
own() { [ -O "$1" ] && [ ! -L "$1" ]; }

nap() { sleep 0.05 2>/dev/null || { sleep 1 && tries=$((tries + 19)); }; }

# Set idle to how long the lease $1 was seen untouched, every five seconds; $2 is when it was last.
heed() {
    idle=$((idle + 5))
    if [ "$1" -nt "$2" ]; then
        touch -r "$1" "$2"
        idle=0
    fi
}

# Make a pipe for each run that is to be forked; its wrapper is answered by that.
pipes_for() {
    names=''
    while [ $# -gt 0 ]; do
        [ "$4" = - ] || names="$names said-$4"
        shift 4
    done
    [ -n "$names" ] || return 0
    own "$pipes" && [ -e "$pipes/held" ] && [ ! -e "$pipes/ended" ] || return 1
    # shellcheck disable=SC2086 # one word for each
    (cd "$pipes" && mkfifo $names) 2>/dev/null || : # there already, where a run is sent anew
}

# Start the run $1, attempt $2, with the slot $3.
start() {
    if own "$pipes" && [ -p "$pipes/said-$3" ] && [ -p "$pipes/orders" ]; then
        MULTIRUN_WARM=$pipes MULTIRUN_SLOT=$3 \
            setsid sh "$here/wrapper.sh" run "$1" "$2" 7<>"$pipes/said-$3" 8<>"$pipes/orders" \
            </dev/null >/dev/null 2>&1 &
    else
        detached "$here/wrapper.sh" run "$1" "$2"
    fi
}

# Say what has become of the one with the pipes $1.
warmed() {
    tries=0
    until [ -e "$1/warm" ] || [ ! -e "$1" ] || [ "$tries" -ge 200 ]; do
        nap
        tries=$((tries + 1))
    done
    if [ -e "$1/warm" ]; then
        echo warm
    elif [ -e "$1" ]; then
        echo waits
    else
        echo cold
    fi
}

# Have an interpreter until nobody needs it: $1 is FOLDER, $2 the seconds.
warm() {
    . "$here/warm.sh"
    mr_here=$here mr_command=$pipes/command mr_log=$1/log mr_slots=0 mr_stop=''
    mr_pipes=$pipes
    cd /
    mr_warm_up
    [ -n "$mr_warm" ] || exit 0
    true >"$pipes/held"
    hold "$1" "$2" "$1/seen.${pipes##*-}" &
    exec 8<&-
    echo "$!" >"$pipes/holder"
    true >"$pipes/warm"
    mr_outlive
}

# Hold it for the driver, as long as that is there; $3 is when it was last.
hold() {
    sleeper='' idle=0 seen=$3
    trap 'kill $sleeper; rm -f "$seen"; exit' TERM
    touch -r "$1/lease" "$seen"
    while [ "$idle" -lt "$2" ] && [ -e "$1/lease" ] && [ ! -e "$pipes/ended" ]; do
        sleep 5 8<&- &
        sleeper=$!
        wait "$sleeper"
        heed "$1/lease" "$seen"
    done
    rm -f "$pipes/held" "$seen"
    sleep 1 # who has seen that has opened them by then
} 2>/dev/null

# End those of FOLDER, $1, and wait $2 seconds for that; the runs that they have forked go on.
cool() {
    [ -r "$1/pipes" ] || return 0
    while IFS= read -r pipes; do
        tries=0
        while own "$pipes"; do
            read -r pid <"$pipes/pid" &&
                tr '\000' '\n' <"/proc/$pid/cmdline" | grep -qxF -- "$pipes" && kill -KILL "$pid"
            [ "$tries" -lt $(($2 * 20)) ] || break # where runs go on, it is held by them
            nap
            tries=$((tries + 1))
        done
    done <"$1/pipes" 2>/dev/null
}

# End all runs when the lease has not been touched for $2 seconds; give way to a later guard.
guard() {
    cd -- "$1" || exit
    idle=0
    while [ "$idle" -lt "$2" ]; do
        sleep 5
        read -r present 2>/dev/null <guard && [ "$present" = "$4" ] || exit 0
        heed lease seen
    done
    for run in */; do
        for claim in "$run".multirun/claim-*; do
            [ -d "$claim" ] && [ ! -e "$claim/exit" ] || continue
            dir=$(cd -P -- "$run" && pwd -P)
            attempt=${claim##*/claim-}
            sh "$here/wrapper.sh" end "$dir" "${attempt%%-*}" "$3" lost &
        done
    done
    wait
}

case $verb in
begin)
    mkdir -p -- "$1" && cd -- "$1" && : >>log || exit 74
    wc -c <log
    unset OMP_NUM_THREADS OMP_THREAD_LIMIT # which nproc believes
    nproc 2>/dev/null || grep -c ^processor /proc/cpuinfo
    ;;
start)
    folder=$1 pipes=$2
    shift 2
    pipes_for "$@" || echo cold
    while [ $# -gt 0 ]; do
        [ -e "$folder/$1" ] || ln -s -- "$2" "$folder/$1"
        start "$2" "$3" "$4"
        shift 4
    done
    ;;
warm)
    # shellcheck source-path=SCRIPTDIR/../../../multirun_core/src/multirun_core/_runners
    . "$here/warm.sh"
    cool "$1" 0
    touch "$1/lease" || exit 74
    mr_log=$1/log
    mr_place || exit 0
    cat >"$mr_pipes/command" && [ "$(wc -c <"$mr_pipes/command")" -eq "$3" ] &&
        printf '%s\n' "$mr_pipes" >>"$1/pipes" || {
        rm -rf -- "$mr_pipes"
        exit 74
    }
    detached "$0" warming "$1" "$2" "$mr_pipes"
    printf '%s\n' "$mr_pipes"
    warmed "$mr_pipes"
    ;;
warming)
    pipes=$3
    warm "$1" "$2"
    ;;
warmed) warmed "$1" ;;
cool) cool "$1" 5 ;;
follow)
    cd -- "$1" || exit 74
    quick=
    tail --version >/dev/null 2>&1 && quick='-s 0.1'
    # shellcheck disable=SC2086 # an option and its argument
    tail -c "+$2" $quick -f log &
    tail=$!
    trap 'kill "$tail" 2>/dev/null' EXIT
    trap 'exit 0' TERM HUP INT PIPE
    while read -r _; do
        touch lease
        kill -0 "$tail" 2>/dev/null || exit 74
    done
    ;;
guard)
    # Aside first: where the disk is full, the guard that is there stays.
    touch "$1/lease" && touch -r "$1/lease" "$1/seen" && echo "$4" >"$1/guard.part" &&
        mv -f "$1/guard.part" "$1/guard" || exit 74
    detached "$0" guarding "$@"
    ;;
guarding) guard "$@" ;;
look)
    place=0
    while [ $# -gt 0 ]; do
        tell "$place" look "$1" "$2"
        place=$((place + 1))
        shift 2
    done
    ;;
end)
    grace=$1 reason=$2 place=0
    shift 2
    while [ $# -gt 0 ]; do
        tell "$place" end "$1" "$2" "$grace" "$reason" &
        place=$((place + 1))
        shift 2
    done
    wait
    ;;
leave)
    cd -- "$1" || exit 0
    cool "$2" 5
    for run in "$2"/*/; do
        [ -L "${run%/}" ] || [ ! -d "$run" ] || exit 0
    done
    rm -rf -- "$2"
    for other in */log; do
        [ ! -e "$other" ] || exit 0
    done
    [ -f mark ] && [ -d shared ] || exit 0 # it is none of ours
    rm -rf -- "$1"
    ;;
esac
