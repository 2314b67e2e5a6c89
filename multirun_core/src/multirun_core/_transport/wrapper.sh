#!/bin/sh
# Carries out one attempt of a run where nothing of ours is installed: POSIX sh on Linux, with
# setsid, grep, tr and the usual file tools. `wrapper.py` writes the order and reads the lines.
#
#   sh wrapper.sh run DIR ATTEMPT [RESTART]               claim it, carry it out, write its end down
#   sh wrapper.sh look DIR ATTEMPT [RESTART]              say in one line what is known of it
#   sh wrapper.sh end DIR ATTEMPT GRACE REASON [RESTART]  end it with all of its descendants
#   sh wrapper.sh pass SIGNAL PROCESS...                  send USR1 or USR2 when they can hear it
#
# DIR is absolute. In DIR/.multirun: `order`, what is to be done; `claim-ATTEMPT`, a directory whose
# making is the claim, with `claimant` (who has made it, where the run is to be forked), `process`
# (who carries it out), `ending` (why it is being ended) and `exit` (its end, whole as soon as it has
# that name).
#
# Descendants are known by their session or group, by their token in the environment, by file
# descriptor 9, which they inherit, or by their working directory. What has left all four escapes.
# Who is in the directory alone is spared where it has a terminal or is another user's: a person is
# at work there.
#
# All variables begin with mr_, since one that the caller had exported would reach the program.
#
# Every fork is paid for by every run, so what the shell can do itself it does.
# shellcheck disable=SC2034,SC2154,SC2015 # set by the order; read to be skipped; meant as written
# shellcheck disable=SC3013 # -ef: in POSIX since 2024, and in dash, bash and busybox for long
# shellcheck disable=SC3067 # -O: in dash, bash and busybox, too
set -u

mr_tab='	'

# Set mr_boot and mr_host: the id of a process means nothing elsewhere.
mr_here() {
    read -r mr_boot </proc/sys/kernel/random/boot_id
    read -r mr_host </proc/sys/kernel/hostname
}

# Set mr_start to when process $1 was started, in ticks since boot, and mr_tty to its terminal, 0
# for none; false where it is no more.
mr_started() {
    mr_start=0 mr_stat=
    [ -r "/proc/$1/stat" ] || return 1
    while read -r mr_rest; do # the name of its program may hold newlines
        mr_stat=$mr_stat$mr_rest
    done 2>/dev/null <"/proc/$1/stat"
    # shellcheck disable=SC2086 # fields are meant to be split
    set -- ${mr_stat##*) }
    case ${1:-Z} in Z | X) return 1 ;; esac
    mr_tty=$5 mr_start=${20}
}

# Set mr_cs to $1 seconds, a decimal number, in centiseconds.
mr_centi() {
    mr_part=${1#*.}00
    [ "$mr_part" != "${1}00" ] || mr_part=00
    mr_part=1${mr_part%"${mr_part#??}"}
    mr_cs=${1%%.*}
    mr_cs=$((${mr_cs:-0} * 100 + mr_part - 100))
}

# Set mr_decimal to $1 centiseconds in seconds.
mr_seconds() {
    mr_part=$((100 + $1 % 100))
    mr_decimal=$(($1 / 100)).${mr_part#1}
}

# Set mr_now to centiseconds since boot.
mr_clock() {
    read -r mr_now mr_rest </proc/uptime
    mr_centi "$mr_now"
    mr_now=$mr_cs
}

mr_nap() { sleep 0.05 2>/dev/null || sleep 1; }

mr_leave() {
    printf '%s\n' "multirun: $mr_dir, attempt $mr_attempt_asked: $2" >&2
    exit "$1"
}

# Read who carries the run out; false where that is not written yet, all of it.
mr_known() {
    mr_p_end=
    [ -e "$mr_claim/process" ] && IFS=$mr_tab read -r mr_p_host mr_p_boot mr_p_wrapper \
        mr_p_wrapper_start mr_p_child mr_p_child_start mr_p_token mr_p_end <"$mr_claim/process"
    [ "$mr_p_end" = . ]
}

# Whether who has claimed it lives and waits for a fork: it will begin, or be given up.
mr_begins() {
    mr_p_end=
    [ -e "$mr_claim/claimant" ] && IFS=$mr_tab read -r mr_p_host mr_p_boot mr_p_wrapper \
        mr_p_wrapper_start mr_p_end <"$mr_claim/claimant"
    [ "$mr_p_end" = . ] && [ "$mr_p_host" = "$mr_host" ] && [ "$mr_p_boot" = "$mr_boot" ] &&
        mr_started "$mr_p_wrapper" && [ "$mr_start" = "$mr_p_wrapper_start" ]
}

# Whether an environment, the file $1, has no token, or is that with $2: one that is being cast off
# right now would be missed where only those without one were meant.
mr_no_others() {
    mr_seen=$(LC_ALL=C grep -sz '^MULTIRUN_TOKEN=' "$1" | tr -d '\000')
    [ -z "$mr_seen" ] || [ "$mr_seen" = "MULTIRUN_TOKEN=$2" ]
}

# Set mr_members to the live processes of the run: $1 its session or "", $2 its token. False where
# there is none.
mr_find() {
    mr_members=
    for mr_found in $(
        mr_since=0 mr_files=
        if [ -n "${mr_short:-}" ]; then # only those can be of it that came since its first one
            read -r mr_latest mr_rest </proc/self/stat # this subshell, which was new a moment ago
            [ "$mr_latest" -le "$mr_child" ] || mr_since=$mr_child # unless numbers have come round
            mr_latest=$((mr_latest + 1000))
        fi
        for mr_place in /proc/[0-9]*; do
            if [ "$mr_since" -gt 0 ]; then
                mr_found=${mr_place#/proc/}
                [ "$mr_found" -ge "$mr_since" ] && [ "$mr_found" -le "$mr_latest" ] || continue
                mr_files="$mr_files $mr_place/environ $mr_place/stat"
            fi
            if [ "$mr_place/fd/9" -ef "$mr_claim" ] || {
                # Another attempt may be in the same directory, where this one was given up.
                [ "$mr_place/cwd" -ef "$mr_dir" ] && [ ! -d "$mr_place/fd/9" ] &&
                    [ -O "$mr_place" ] && mr_started "${mr_place#/proc/}" && [ "$mr_tty" = 0 ] &&
                    mr_no_others "$mr_place/environ" "$2"
            }; then
                echo "$mr_place/cwd"
            fi
        done
        [ "$mr_since" -gt 0 ] || mr_files='/proc/[0-9]*/environ /proc/[0-9]*/stat'
        # One grep for both: the token in an environment; group or session in the stat of a
        # process that is no zombie, see proc(5).
        # shellcheck disable=SC2086 # one word, or pattern, for each file
        LC_ALL=C grep -lszE "^MULTIRUN_TOKEN=$2\$|^[0-9]+ [(].*[)] [^ZX] [0-9]+ (${1:-x}|[0-9]+ ${1:-x}) " \
            $mr_files /dev/null
    ); do
        mr_found=${mr_found#/proc/} mr_found=${mr_found%%/*}
        case " $mr_members $$ ${mr_p_wrapper:-} " in *" $mr_found "*) continue ;; esac
        mr_members="$mr_members $mr_found"
    done
    [ -n "$mr_members" ]
}

# End what is left of the run: TERM, $3 seconds, KILL. False where something stays.
mr_sweep_up() {
    mr_find "$1" "$2" || return 0
    # shellcheck disable=SC2086 # one word for each process
    kill -TERM $mr_members 2>/dev/null
    mr_clock && mr_centi "$3" && mr_until=$((mr_now + mr_cs))
    while mr_find "$1" "$2"; do
        mr_clock
        [ "$mr_now" -lt "$mr_until" ] || break
        mr_nap
    done
    mr_until=$((mr_now + 1000))
    while mr_find "$1" "$2"; do
        # shellcheck disable=SC2086
        kill -KILL $mr_members 2>/dev/null
        mr_clock
        [ "$mr_now" -lt "$mr_until" ] || return 1
        mr_nap
    done
}

# mr_say WORD CODE REASON STARTED ENDED CPU: set mr_line to a line about this attempt.
mr_say() {
    mr_line=$1
    for mr_one in "$mr_index" "$mr_attempt" "$mr_restart" "$2" "$3" "$4" "$5" "$6" - \
        "${MULTIRUN_NODE:-$mr_host}" "$mr_token"; do
        mr_line=$mr_line$mr_tab$mr_one
    done
}

# Append mr_line to where somebody may be listening.
mr_tell() { [ -z "$mr_log" ] || printf '%s\n' "$mr_line" >>"$mr_log"; }

# Begin anew as the process that becomes the program.
mr_inner() {
    cd "$mr_dir" || exit 126
    # shellcheck disable=SC1091 # wrapper.py makes it
    . "$mr_mine/order"
    # This attempt may have been given up at the very moment at which it begins.
    [ "$mr_attempt" = "$mr_attempt_asked" ] || mr_unfit "the order is for attempt $mr_attempt"
    unset MULTIRUN_NODE MULTIRUN_BOOTED MULTIRUN_TOLD MULTIRUN_WARM MULTIRUN_SLOT
    MULTIRUN_RUN_DIR=$mr_dir MULTIRUN_TOKEN=$mr_token
    export MULTIRUN_RUN_DIR MULTIRUN_TOKEN
    set +u # what users put before their command, such as start-up files of modules, was not made for it
    eval "$mr_program"
}

# Refuse a program that is not to be had; called by the order's program just before it is executed.
mr_check() {
    case $1 in
    */*)
        [ -e "$1" ] || mr_unfit "$1: there is no such program"
        [ -f "$1" ] && [ -x "$1" ] || mr_unfit "$1: it is not executable"
        ;;
    *) command -v -- "$1" >/dev/null || mr_unfit "$1: there is no such program on the PATH, $PATH" ;;
    esac
}

mr_unfit() {
    printf '%s\n' "$1" >&2
    printf '%s\n' "$1" >"$mr_claim/unfit"
    exit 127
}

mr_run() {
    [ -r "$mr_mine/order" ] || mr_leave 3 'there is no order'
    # shellcheck disable=SC1091
    . "$mr_mine/order"
    [ "$mr_attempt" = "$mr_attempt_asked" ] || mr_leave 3 "the order is for attempt $mr_attempt"
    # What was told to the job before this run began, and what comes before there is a program.
    mr_child='' mr_signals=${MULTIRUN_TOLD:-}
    trap 'mr_pass USR1' USR1
    trap 'mr_pass USR2' USR2
    mkdir "$mr_claim" 2>/dev/null || {
        [ -d "$mr_claim" ] || mr_leave 74 "$mr_claim cannot be made"
        mr_leave 3 'it is claimed already'
    }
    mr_present=1
    [ ! -r "$mr_mine/attempt" ] || read -r mr_present <"$mr_mine/attempt"
    [ "$mr_present" = "$mr_attempt" ] || mr_leave 3 "attempt $mr_present is due"
    for mr_stream in stdout.txt stderr.txt; do
        true >"$mr_dir/$mr_stream" || mr_leave 74 "$mr_stream cannot be written"
    done
    mr_here
    mr_asked=
    trap 'mr_asked=1' TERM INT HUP
    mr_launch
    for mr_signal in USR1 USR2; do
        case $mr_signals in *$mr_signal*) mr_pass "$mr_signal" ;; esac
    done
    mr_say start - - "$mr_began" - -
    mr_tell
    mr_await
    { times; } >"$mr_claim/exit.part" # in braces, since the run may have removed the directory
    mr_clock && mr_took=$((mr_now - mr_began_clock))
    # Processes are numbered in turn, up to 32768 or more: in so short a time, in centiseconds, no
    # machine makes so many that numbers come round to where the run began.
    mr_short=
    [ "$mr_took" -gt 12 ] || mr_short=1
    [ -z "$mr_watchdog" ] || kill "$mr_watchdog" 2>/dev/null
    mr_sweep_up "$mr_child" "$mr_token" "$mr_grace" ||
        echo 'multirun: some of its processes could not be ended' >&2
    mr_conclude
    wait # for who helped to end it
}

# Send a signal on to the program, or keep it until there is one. By nobody's child, since this may
# come at any moment, and others want to know $!.
mr_pass() {
    if [ -n "$mr_child" ]; then
        (sh "$mr_self" pass "$1" "$mr_child" </dev/null >/dev/null 2>&1 7<&- 8<&- &)
    else
        mr_signals="$mr_signals $1"
    fi
}

# Send signal $1 to process $2, or to the group that it leads: to one that has only just begun when
# it is not ended by it any more, or has had half a minute for that.
mr_pass_on() {
    mr_started "$2" && mr_first=$mr_start || return
    while mr_clock && [ $((mr_now - mr_first)) -lt 3000 ]; do
        mr_nap # what a shell has just forked still catches what that one does
        mr_started "$2" && [ "$mr_start" = "$mr_first" ] || return
        ! mr_hears "$2" "$1" || break
    done
    kill "-$1" "-$2" 2>/dev/null || kill "-$1" "$2"
}

# Whether process $1 catches or ignores signal $2, which is number 10 or 12, by the last digits of
# masks. What it blocks says nothing: shells block all for a moment when they fork.
mr_hears() {
    mr_bit=0x200
    [ "$2" = USR1 ] || mr_bit=0x800
    while read -r mr_one mr_rest; do
        case $mr_one in
        SigIgn: | SigCgt:)
            [ $((0x${mr_rest#"${mr_rest%????}"} & mr_bit)) -eq 0 ] || return 0
            ;;
        esac
    done 2>/dev/null <"/proc/$1/status"
    return 1
}

# Start the program in a session of its own; write down who is who.
mr_launch() {
    mr_clock && mr_began_clock=$mr_now
    if [ -n "${MULTIRUN_BOOTED:-}" ]; then # who starts many has asked for the time once
        mr_centi "$MULTIRUN_BOOTED" && mr_seconds $((mr_cs + mr_now)) && mr_began=$mr_decimal
    else
        mr_began=$(date +%s.%N)
        case $mr_began in *[!0-9.]*) mr_began=$(date +%s) ;; esac
    fi
    mr_warmed='' mr_watchdog=''
    mr_started "$$" && mr_own_start=$mr_start
    if [ -n "${MULTIRUN_WARM:-}" ] && [ ! -e "$mr_claim/ending" ] && mr_fork; then
        mr_warmed=1
        [ ! -e "$mr_claim/ending" ] || mr_asked=1 # that came while it was forked
        mr_listen
    else
        # Who ends it waits two seconds for its process, or until a fork is not waited for any more,
        # and takes it then for one that never began.
        [ -n "$mr_asked" ] || [ ! -e "$mr_claim/ending" ] || mr_leave 3 'it is being ended'
        setsid sh "$mr_self" inner "$mr_dir" "$mr_attempt" "$mr_restart" </dev/null \
            >"$mr_dir/stdout.txt" 2>"$mr_dir/stderr.txt" 7<&- 8<&- 9<"$mr_claim" &
        mr_child=$! mr_waited=$!
    fi
    mr_p_wrapper=$$
    [ -z "$mr_timeout" ] || mr_watch
    mr_started "$mr_child" || mr_start=0 # it has ended already
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t.\n' "$mr_host" "$mr_boot" "$$" "$mr_own_start" \
        "$mr_child" "$mr_start" "$mr_token" >"$mr_claim/process"
}

# Have the run forked from the warm interpreter, and set mr_child to its process; false where it must
# be started plainly. See warm.sh; 8 is open to ask by, 7 to hear what becomes of the run.
mr_fork() {
    [ -n "$mr_warm" ] && [ "${#mr_claim}" -le 900 ] &&
        [ -O "$MULTIRUN_WARM" ] && [ ! -L "$MULTIRUN_WARM" ] && # nobody else has put it there
        [ -p "$MULTIRUN_WARM/orders" ] && [ ! -e "$MULTIRUN_WARM/ended" ] || return 1
    case $mr_claim in *"
"*) return 1 ;; esac
    printf '%s\t%s\t%s\t%s\t.\n' "$mr_host" "$mr_boot" "$$" "$mr_own_start" \
        >"$mr_claim/claimant" || return 1
    true >"$mr_claim/asked" || return 1 # whoever removes it decides about this run
    mr_ask
    while :; do
        mr_hear
        case $mr_word in
        pid)
            mr_child=$mr_value
            break
            ;;
        no)
            rm -f "$mr_claim/asked"
            break
            ;;
        ended | late)
            if rm "$mr_claim/asked" 2>/dev/null; then
                [ "$mr_word" = ended ] || ! mr_stuck || mr_dismiss
                break
            fi
            # Somebody has begun to, who should say so.
            if [ "$mr_word" = ended ]; then mr_last_word 1 unbegun; else mr_last_word 10 unbegun; fi
            ;;
        lost | unbegun)
            kill -s ALRM "$mr_asker" 2>/dev/null
            mr_sweep_up '' "$mr_token" "$mr_grace"
            mr_leave 74 'the warm interpreter ended while it started this run'
            ;;
        esac
    done
    kill -s ALRM "$mr_asker" 2>/dev/null
    [ "$mr_word" = pid ]
}

# Ask for the run, and say so when there is no answer within ten seconds: in processes of their own,
# since what is asked by may be full, and where it is stopped nobody makes room.
mr_ask() {
    (
        trap '' TERM INT HUP USR1 USR2
        trap '[ -z "${!-}" ] || kill -KILL "$!"; exit' ALRM # it may come at any moment
        printf '%s %s %s\n' "$MULTIRUN_SLOT" "$mr_token" "$mr_claim" >&8 &
        sleep 10 7<&- 8<&- &
        wait "$!"
        printf '%s late\n' "$mr_token" >&7
    ) </dev/null >/dev/null 2>&1 &
    mr_asker=$!
}

# Whether an interpreter that has not answered is not just slow: it is stopped or no more, or has
# read no order for a minute; it removes `late` when it reads one. Sets mr_value to its process.
mr_stuck() {
    mr_value=
    [ ! -r "$MULTIRUN_WARM/pid" ] || read -r mr_value <"$MULTIRUN_WARM/pid"
    # Looked at twice: where a job was suspended, its processes go on one after another.
    mr_stopped && sleep 1 && mr_stopped && return
    mr_since=
    [ ! -r "$MULTIRUN_WARM/late" ] || read -r mr_since <"$MULTIRUN_WARM/late"
    mr_clock
    if [ -n "$mr_since" ]; then
        [ $((mr_now - mr_since)) -ge 6000 ]
    else
        echo "$mr_now" >"$MULTIRUN_WARM/late"
        return 1
    fi
} 2>/dev/null

mr_stopped() {
    mr_started "${mr_value:-none}" || return 0
    case ${mr_stat##*) } in [Tt]*) ;; *) return 1 ;; esac
}

# Be done with an interpreter, process mr_value: nobody asks it any more, and those who wait for it
# are told. What it has forked goes on.
mr_dismiss() {
    [ ! -e "$MULTIRUN_WARM/ended" ] || return 0
    true >"$MULTIRUN_WARM/ended"
    mr_line="warm${mr_tab}it does not answer"
    mr_tell
    # Another process may have its number, where the machine has been started anew.
    [ ! -r "/proc/${mr_value:-none}/cmdline" ] ||
        case "$mr_tab$(tr '\000' '\t' <"/proc/$mr_value/cmdline")" in
        *"$mr_tab$MULTIRUN_WARM$mr_tab"*) kill -KILL "$mr_value" 2>/dev/null ;;
        esac
}

# Set mr_word and mr_value to what is said next of this run, or of all.
mr_hear() {
    while :; do
        IFS=' ' read -r mr_to mr_word mr_value <&7 || continue # a signal came
        case $mr_to in "$mr_token" | all) return ;; esac
    done
}

# Say $2, unless something is said within $1 seconds.
mr_last_word() {
    (
        trap '' TERM INT HUP USR1 USR2
        sleep "$1" 7<&-
        printf '%s %s\n' "$mr_token" "$2" >&7
    ) </dev/null >/dev/null 2>&1 8<&- &
}

# Wait for the end of a run that was forked, in a process of its own, since signals do not end a
# read for sure. It passes on what it has heard.
mr_listen() {
    (
        trap '' TERM INT HUP USR1 USR2
        while :; do
            mr_hear
            case $mr_word in
            end | heard) break ;; # heard by one whose own end was lost
            ended | lost) # who would say how it ends is gone as well, or is not
                while mr_started "$mr_child"; do sleep 1; done
                mr_last_word 1 nothing
                ;;
            nothing)
                mr_value='137 0'
                break
                ;;
            esac
        done
        printf '%s heard %s\n' "$mr_token" "$mr_value" >&7
    ) </dev/null >/dev/null &
    mr_waited=$!
}

# Keep the time limit, in a process of its own: it is kept also where this one is killed.
mr_watch() {
    sleep 0.01 2>/dev/null || mr_timeout=$((${mr_timeout%.*} + 1))
    (
        trap 'kill "$mr_sleeper"; exit' TERM
        trap '' INT HUP USR1 USR2
        sleep "$mr_timeout" &
        mr_sleeper=$!
        wait "$mr_sleeper"
        exec sh "$mr_self" end "$mr_dir" "$mr_attempt" "$mr_grace" timeout "$mr_restart"
    ) </dev/null >/dev/null 2>&1 7<&- 8<&- &
    mr_watchdog=$!
}

# Wait for the program's end, through signals, and set mr_code. Asked to end, end it.
mr_await() {
    mr_told= mr_spent=0
    while :; do
        [ -n "$mr_asked" ] || wait "$mr_waited" # asked it may have been before this began
        mr_code=$?
        if [ -n "$mr_asked" ]; then
            mr_asked='' mr_told=1
            sh "$mr_self" end "$mr_dir" "$mr_attempt" "$mr_grace" cancelled "$mr_restart" \
                </dev/null >/dev/null 2>&1 7<&- 8<&- &
        fi
        mr_started "$mr_waited" && continue
        # A signal may have come at the same moment. Asked again, some shells have forgotten the
        # child.
        wait "$mr_waited" 2>/dev/null
        mr_again=$?
        case $mr_again in
        127) ;;
        -*) mr_code=- ;; # bash has lost it: it ended as a signal came, see wait_for in bash 5.2
        *) mr_code=$mr_again ;;
        esac
        [ -n "$mr_warmed" ] || break
        if [ "$mr_code" = 0 ]; then
            until mr_hear && [ "$mr_word" = heard ]; do :; done
            mr_code=${mr_value% *} mr_spent=${mr_value#* }
            break
        fi
        mr_listen # a signal has ended it before it was deaf to them
    done
    # Whoever ends jobs may tell all of their processes at once, so that it has ended before: what
    # ended by TERM alone may have been told a moment earlier than this one.
    [ "$mr_code$mr_asked$mr_told" != 143 ] || [ -e "$mr_claim/ending" ] || sleep 1
    [ -z "$mr_asked$mr_told" ] || [ -e "$mr_claim/ending" ] || echo cancelled >"$mr_claim/ending"
}

# Write down how it ended, for good first, then where somebody may be listening.
mr_conclude() {
    mr_reason=-
    [ ! -r "$mr_claim/ending" ] || read -r mr_reason <"$mr_claim/ending"
    [ ! -e "$mr_claim/unfit" ] || mr_reason=submit
    [ "$mr_code$mr_reason" != -- ] || mr_reason=lost
    mr_user=0m0s mr_system=0m0s
    { read -r mr_rest && read -r mr_user mr_system; } <"$mr_claim/exit.part"
    for mr_one in "$mr_user" "$mr_system"; do # such as 1m2.34s
        mr_minutes=${mr_one%m*} mr_one=${mr_one#*m}
        mr_centi "${mr_one%s}"
        mr_spent=$((mr_spent + mr_minutes * 6000 + mr_cs))
    done
    mr_seconds "$mr_spent" && mr_cpu=$mr_decimal
    mr_centi "$mr_began" && mr_seconds $((mr_cs + mr_took)) && mr_ended=$mr_decimal
    mr_say end "$mr_code" "$mr_reason" "$mr_began" "$mr_ended" "$mr_cpu"
    mr_kept=
    printf '%s\n' "$mr_line" >"$mr_claim/exit.part" &&
        mv "$mr_claim/exit.part" "$mr_claim/exit" && mr_kept=1
    mr_tell # also where the run has removed its directory: then this is all that is left of it
    [ -n "$mr_kept" ] || mr_leave 74 "$mr_claim/exit cannot be written"
}

mr_look() {
    [ -d "$mr_claim" ] || { echo unclaimed && return; }
    for mr_round in 1 2; do # who was gone at the first look had written the end by then
        [ ! -e "$mr_claim/exit" ] || { cat "$mr_claim/exit" && return; }
        mr_here
        mr_known || {
            mr_begins && echo begins && return
            [ "$mr_round" != 1 ] || continue
            echo claimed && return
        }
        [ "$mr_p_host" = "$mr_host" ] || { printf 'elsewhere\t%s\n' "$mr_p_host" && return; }
        [ "$mr_p_boot" = "$mr_boot" ] || continue
        if mr_started "$mr_p_wrapper" && [ "$mr_start" = "$mr_p_wrapper_start" ]; then
            echo alive && return
        fi
        if mr_started "$mr_p_child" && [ "$mr_start" = "$mr_p_child_start" ]; then
            echo orphan && return # nobody is left to write down its end
        fi
    done
    echo gone
}

mr_end() {
    if mkdir "$mr_claim" 2>/dev/null; then
        echo prevented && return # whoever comes to start it finds it claimed
    fi
    [ -d "$mr_claim" ] || mr_leave 74 "$mr_claim cannot be made"
    if [ ! -e "$mr_claim/exit" ] && [ ! -e "$mr_claim/ending" ]; then
        echo "$mr_reason" >"$mr_claim/ending.$$" && mv "$mr_claim/ending.$$" "$mr_claim/ending"
    fi
    mr_here
    mr_clock && mr_until=$((mr_now + 200))
    until mr_known; do # it is being started right now, or its claimant has died right then
        mr_clock
        # Who waits for a fork does so for some twenty seconds at most, see mr_fork.
        [ "$mr_now" -lt "$mr_until" ] ||
            { [ "$mr_now" -lt $((mr_until + 2200)) ] && mr_begins; } ||
            { mr_end_unknown && return; }
        mr_nap
    done
    [ "$mr_p_host" = "$mr_host" ] && [ "$mr_p_boot" = "$mr_boot" ] || { mr_look && return; }
    mr_session=
    if mr_started "$mr_p_child" && [ "$mr_start" = "$mr_p_child_start" ]; then
        mr_session=$mr_p_child
    fi
    mr_sweep_up "$mr_session" "$mr_p_token" "$mr_grace" ||
        mr_leave 1 'some of its processes could not be ended'
    mr_clock && mr_until=$((mr_now + 500))
    while [ ! -e "$mr_claim/exit" ] && mr_started "$mr_p_wrapper" &&
        [ "$mr_start" = "$mr_p_wrapper_start" ]; do
        mr_clock
        [ "$mr_now" -lt "$mr_until" ] || break
        mr_nap
    done
    mr_look
}

# End what was begun by somebody who died before it could say who it was: by its token alone.
mr_end_unknown() {
    # What was asked for is forked no more; where somebody has begun to, it shows itself in no time.
    [ ! -e "$mr_claim/claimant" ] || rm "$mr_claim/asked" 2>/dev/null || sleep 1
    if [ -r "$mr_mine/order" ]; then
        mr_wanted=$mr_grace
        # shellcheck disable=SC1091
        . "$mr_mine/order"
        [ "$mr_attempt" != "$mr_attempt_asked" ] || mr_sweep_up '' "$mr_token" "$mr_wanted" ||
            mr_leave 1 'some of its processes could not be ended'
    fi
    mr_look
}

mr_verb=${1:?a verb: run, look, end or pass}
if [ "$mr_verb" = pass ]; then
    trap '' USR1 USR2 # such may be sent to all processes of a job
    mr_signal=${2:?the signal}
    shift 2
    for mr_one; do mr_pass_on "$mr_signal" "$mr_one" & done
    wait
    exit
fi
mr_dir=${2:?the run directory}
mr_attempt_asked=${3:?the number of the attempt}
mr_restart=0
case $mr_verb in
run | inner | look) mr_restart=${4:-0} ;;
end)
    mr_grace=${4:?seconds of grace}
    mr_reason=${5:?why it is ended}
    mr_restart=${6:-0}
    ;;
*) mr_leave 2 "$mr_verb is no verb" ;;
esac
case $0 in
/*) mr_self=$0 ;;
*) mr_self=$PWD/$0 ;;
esac
mr_mine=$mr_dir/.multirun
mr_claim=$mr_mine/claim-$mr_attempt_asked
[ "$mr_restart" = 0 ] || mr_claim=$mr_claim-$mr_restart
[ "$mr_verb" = inner ] || cd /
"mr_$mr_verb"
