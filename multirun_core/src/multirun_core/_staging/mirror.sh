# The far side of a mirror: POSIX sh with tar (GNU's or busybox's), find and the usual file tools.
# It is passed to `sh -c` as text, so that nothing of it need be there.
#
#   open PLACE NAME MARK        make the directory; print its path, a mark of its file system, and
#                               which sets of inputs it holds
#   receive BASE BATCH [ARGV…]  unpack what comes; do what BATCH says; go on as ARGV
#   store BASE KEY PART         unpack a set of inputs, or a file; make what PART.copies says; give it
#                               its name once it is whole, or say what is lacking
#   pack FOLDER COUNT NAME… [EXPRESSION]
#                               send what find(1) finds in run directories; standard input is text
#                               that may add to the expression
#   open_up BASE FOLDER NAME…   give back permissions that a program has taken away
#   remove FOLDER NAME…         remove run directories
set -u
verb=$1
shift

refuse() {
    printf '%s\n' "$PWD cannot be used: $1" >&2
    exit 74
}

# take SOURCE TARGET MODE TIME [DIGEST]: copy a file, if what it holds is what is wanted. The copy is
# looked at, not the source: a run may be writing to that.
take() {
    [ -f "$1" ] && cp -- "$1" "$2" && chmod "$3" "$2" && TZ=UTC0 touch -t "$4" -- "$2" || return
    [ $# = 4 ] || case $(sha256sum <"$2") in "$5 "*) ;; *) return 1 ;; esac
}

# GNU's reads from a pipe in blocks of 10 KB otherwise; busybox and BSD's do not look at this.
unpack() { TAR_OPTIONS=--blocking-factor=512 tar -xf -; }

lack() {
    printf 'lacking %d\n' "$1"
    whole=false
}

case $verb in
open)
    case $1 in
    '') place=${XDG_CACHE_HOME:-$HOME/.cache}/multirun ;;
    /*) place=$1 ;;
    '~') place=$HOME ;;
    '~/'*) place=$HOME/${1#??} ;;
    *) place=$HOME/$1 ;;
    esac
    mkdir -p -- "$place" || exit 74
    [ -d "$place/$2" ] || mkdir -m 700 -- "$place/$2" || [ -d "$place/$2" ] || exit 74
    cd -- "$place/$2" || exit 74
    # What lies here is executed, so nobody else may have made it, or may write here.
    # shellcheck disable=SC3067 # -O: in dash, bash and busybox
    [ ! -L "$place/$2" ] && [ -O . ] || refuse 'it is a link, or belongs to another user'
    case $(ls -ld .) in d????-??-*) ;; *) refuse 'other users may write there' ;; esac
    mkdir -p shared || exit 74
    # Two machines with one home may come at once: the first one's counts, whole as it is.
    [ -s mark ] || {
        printf '%s\n' "$3" >"mark.$3" && {
            ln "mark.$3" mark 2>/dev/null || [ -s mark ] || mv -f "mark.$3" mark
        }
        rm -f "mark.$3"
    }
    read -r mark <mark || exit 74
    printf '%s\0%s\0' "$PWD" "$mark"
    ls shared
    ;;
receive)
    cd -- "$1" && unpack || exit
    batch=$2
    shift 2
    . "./$batch"
    rm -f -- "$batch"
    [ $# = 0 ] || exec "$@"
    ;;
store)
    cd -- "$1/shared" || exit 74
    whole=true part=$3
    # Nobody needs it any more, or hears what sh says of that.
    trap 'rm -rf -- "$part" "$part.copies"; exit 143' TERM
    trap : PIPE
    unpack && { [ ! -e "$part.copies" ] || . "./$part.copies"; } && {
        # What is lacking comes next, and is put beside what is there already.
        $whole || exit 0
        [ -e "$2" ] || mv -- "$part" "$2"
    }
    code=$?
    rm -rf -- "$part" "$part.copies"
    exit "$code"
    ;;
pack)
    cd -- "$1" || exit 74
    left=$2 names=
    shift 2
    while [ "$left" -gt 0 ]; do
        [ ! -d "$1" ] || names="$names $1"
        shift
        left=$((left - 1))
    done
    [ -n "$names" ] || exit 0
    eval "$(cat)"
    # shellcheck disable=SC2086 # names of run directories are single words
    exec find $names "$@" -exec tar --no-recursion -cf - '{}' +
    ;;
open_up)
    cd -- "$1" || exit 74
    shift
    for name; do
        [ ! -d "$name" ] || chmod -R u+rwX -- "$name"
    done
    ;;
remove)
    cd -- "$1" || exit 0
    shift
    rm -rf -- "$@" 2>/dev/null && exit
    chmod -R u+rwX -- "$@" 2>/dev/null
    rm -rf -- "$@"
    ;;
esac
