# The far side of a login to a queue system: POSIX sh on Linux with the usual file tools. It is
# passed to `sh -c` as text, so that nothing of it need be there.
#
# Lists come by standard input, a word and a path on each line, in which what is not plain is
# escaped as printf(1) has it for %b. MARK is a line that ends a part of what is printed.
#
#   path PROGRAM                    print by which PATH it is found, that of a login shell if need be
#   news MARK <OFFSET HOME…         print the logs of submissions from there on
#   evidence <ATTEMPT DIR…          print the record of each run, or whether it is claimed
#   prevent <ATTEMPT DIR…           claim attempts, or note that they are to end
#   spare <ATTEMPT DIR…             claim attempts, and leave alone what has begun
#   submit HOME STOP MARK COMMAND…  submit; print the exit status, the answer, the complaint
#   left HOME MARK                  print the answer, and whether a client was ever to be called
#   settle HOME STOP SECONDS FAR    let nobody submit any more: wait for a client, then kill it
#   leave BASE                      remove what is left when no run is
set -u
verb=$1
shift

place() {
    dir=$1
    case $1 in *\\*) dir=$(printf '%b.' "$1") dir=${dir%.} ;; esac
}

client_lives() { # 0: it does; 1: it does not; 2: it is on another host
    [ -r client ] || return 1
    IFS='	' read -r host boot pid start rest <client
    [ "${rest:-}" = . ] || return 1
    read -r own_host </proc/sys/kernel/hostname
    read -r own_boot </proc/sys/kernel/random/boot_id
    if [ "$boot" != "$own_boot" ]; then
        [ "$host" = "$own_host" ] && return 1
        return 2
    fi
    stat=
    while read -r line; do stat=$stat$line; done 2>/dev/null <"/proc/$pid/stat"
    [ -n "$stat" ] || return 1
    # shellcheck disable=SC2086 # fields are meant to be split
    set -- ${stat##*) }
    case $1 in Z | X) return 1 ;; esac
    group=$3
    [ "${20}" = "$start" ]
}

kill_client() { # with its group: it may be a script that has called the real command
    stat=
    while read -r line; do stat=$stat$line; done <"/proc/$$/stat"
    # shellcheck disable=SC2086 # fields are meant to be split
    set -- ${stat##*) }
    if [ "$group" = "$3" ]; then kill -KILL "$pid"; else kill -s KILL -- "-$group"; fi
}

case $verb in
path)
    if command -v -- "$1" >/dev/null 2>&1; then
        printf '\n%s\n' "$PATH"
        exit
    fi
    case ${SHELL:-} in
    */bash | */zsh | */ksh) shell=$SHELL ;;
    *) shell=sh ;;
    esac
    # shellcheck disable=SC2016 # for the other shell
    exec "$shell" -lc 'command -v -- "$0" >/dev/null 2>&1 && printf "\n%s\n" "$PATH"' "$1" </dev/null
    ;;
news)
    while read -r offset name; do
        place "$name"
        tail -c "+$((offset + 1))" -- "$dir/log" 2>/dev/null
        printf '\n%s\n' "$1"
    done
    ;;
evidence)
    while read -r attempt name; do
        place "$name"
        claim=$dir/.multirun/claim-$attempt
        ls "$dir/.multirun" "$claim" >/dev/null 2>&1 # a network file system looks anew
        line=unclaimed
        [ ! -d "$claim" ] || line=claimed
        [ ! -r "$claim/exit" ] || read -r line <"$claim/exit"
        printf '%s\n' "$line"
    done
    ;;
prevent | spare)
    while read -r attempt name; do
        place "$name"
        claim=$dir/.multirun/claim-$attempt
        mkdir -p "$dir/.multirun"
        # The mark says to who asks again that it was this, and no run.
        if mkdir "$claim" 2>/dev/null && : >"$claim/prevented" || [ -e "$claim/prevented" ]; then
            echo prevented
            continue
        fi
        if [ "$verb" = prevent ] && [ -d "$claim" ] && [ ! -e "$claim/exit" ]; then
            echo cancelled >"$claim/ending.driver" && mv "$claim/ending.driver" "$claim/ending"
        fi
        echo begun
    done
    ;;
submit)
    home=$1 stop=$2 mark=$3
    shift 3
    sh "$home/submit.sh" "$home" "$stop" "$@"
    printf '%s\n%s\n' "$?" "$mark"
    cat "$home/answer" 2>/dev/null
    printf '\n%s\n' "$mark"
    cat "$home/complaint" 2>/dev/null
    ;;
left)
    cat "$1/answer" 2>/dev/null
    printf '\n%s\n' "$2"
    [ ! -e "$1/client" ] || echo begun
    ;;
settle)
    cd -- "$1" 2>/dev/null || exit 0
    : >"$2" || exit 74
    waited=0
    while [ "$waited" -lt "$3" ]; do
        client_lives
        case $? in
        1) exit 0 ;;
        2)
            age=$(($(date +%s) - $(stat -c %Y client)))
            [ "$age" -lt "$4" ] || exit 0
            waited=$((waited - 1))
            ;;
        esac
        sleep 1
        waited=$((waited + 1))
    done
    client_lives && kill_client
    exit 0
    ;;
leave)
    cd -- "$1" 2>/dev/null || exit 0
    [ -f mark ] && [ -d shared ] || exit 0 # it is none of ours
    for run in runs/*/; do
        [ ! -d "$run" ] || exit 0
    done
    rm -rf -- "$1"
    ;;
esac
