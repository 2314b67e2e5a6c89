# What a host is like: a line for each fact, NAME, a tab, VALUE. $1 where sweeps go, $2 the python.
export LC_ALL=C
fact() { printf '%s\t%s\n' "$1" "$2"; }
fact clock "$(date +%s)"
fact system "$(uname -srm)"
fact user "$(id -un)"
# nproc believes what OpenMP is told.
fact cpus "$(unset OMP_NUM_THREADS OMP_THREAD_LIMIT; nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)"
while read -r name value unit; do
    case $name in
    MemTotal:) fact memory_bytes "${value}k" ;;
    MemAvailable:) fact memory_free_bytes "${value}k" ;;
    esac
done </proc/meminfo
read -r one rest </proc/loadavg && fact load "$one"
case $1 in
'') place=${XDG_CACHE_HOME:-$HOME/.cache}/multirun ;;
/*) place=$1 ;;
'~') place=$HOME ;;
'~/'*) place=$HOME/${1#??} ;;
*) place=$HOME/$1 ;;
esac
fact place "$place"
while [ ! -d "$place" ] && [ "$place" != / ]; do place=$(dirname -- "$place"); done
[ -w "$place" ] || fact not_writable "$place"
df -Pk -- "$place" 2>/dev/null | {
    read -r rest
    read -r device blocks used free rest && fact disk_free_bytes "${free}k"
}
df -Pi -- "$place" 2>/dev/null | {
    read -r rest
    read -r device inodes used free rest && fact inodes "$inodes" && fact inodes_free "$free"
}
found=$(command -v -- "$2") && {
    fact python "$found"
    fact python_version "$("$found" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>&1 | tail -n 1)"
}
for tool in tar setsid find grep cp mkdir mv rm ln ls cat tr touch tail sleep kill date wc env chmod; do
    command -v "$tool" >/dev/null 2>&1 || fact missing "$tool"
done
[ -r /proc/self/environ ] || fact missing /proc
# logind.conf(5): whether what a logout leaves is ended; systemd's own word goes before the files'.
if [ -d /run/systemd/system ]; then
    kills=$(busctl get-property org.freedesktop.login1 /org/freedesktop/login1 \
        org.freedesktop.login1.Manager KillUserProcesses 2>/dev/null)
    [ -n "$kills" ] || kills=$(cat /usr/lib/systemd/logind.conf.d/*.conf /etc/systemd/logind.conf \
        /etc/systemd/logind.conf.d/*.conf 2>/dev/null | sed -n 's/^ *KillUserProcesses *= *//p' |
        tail -n 1)
    [ -e "/var/lib/systemd/linger/$(id -un)" ] && fact lingers yes
    fact kills "${kills:-no}"
fi
fact end end
