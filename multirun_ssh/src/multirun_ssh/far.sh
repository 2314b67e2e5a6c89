#!/bin/sh
# The far side of a host: POSIX sh on Linux, with setsid, tail and the usual file tools. It lies
# beside wrapper.sh, which carries runs out.
#
# FOLDER is the directory of the sweep's runs on this host; a run is known by NAME, its own in that,
# or by the whole path DIR where runs are carried out in a shared file system.
#
#   begin FOLDER                     make the folder; print the size of its log, the CPUs
#   start FOLDER NAME DIR ATTEMPT …  start runs, detached, each claimed by its wrapper
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

# End all runs when the lease has not been touched for $2 seconds; give way to a later guard.
guard() {
    cd -- "$1" || exit
    idle=0
    while [ "$idle" -lt "$2" ]; do
        sleep 5
        read -r present 2>/dev/null <guard && [ "$present" = "$4" ] || exit 0
        if [ lease -nt seen ]; then
            touch -r lease seen
            idle=0
        else
            idle=$((idle + 5))
        fi
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
    folder=$1
    shift
    while [ $# -gt 0 ]; do
        [ -e "$folder/$1" ] || ln -s -- "$2" "$folder/$1"
        detached "$here/wrapper.sh" run "$2" "$3"
        shift 3
    done
    ;;
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
