#!/bin/sh
# Runs a program of the root filesystem beside this file: enter PROGRAM [ARGUMENT...]
#
# ETCMAP, VARMAP and HOMEMAP say whose /etc, /var and /home the program sees: host or chroot.
# FLATWRAP_ROOT is a folder that the extension is merged into, for tests.
set -eu

here=${FLATWRAP_ROOT:-}/usr/local/@NAME@
root=$here/rootfs
mount=$here/mount

# All folders that the program sees, one a line: where, and from what; what is below comes after what is above.
places() {
    for path in /usr /lib /lib32 /lib64 /libx32 /bin /sbin /opt; do
        echo "$path $root"
    done
    for path in /dev /proc /sys /run /tmp; do
        echo "$path host"
    done
    mapped /etc "${ETCMAP:-@ETC@}"
    mapped /var "${VARMAP:-@VAR@}"
    [ "${VARMAP:-@VAR@}" = host ] || echo "/var/tmp host"
    mapped /home "${HOMEMAP:-@HOME@}"
    mapped /root "${HOMEMAP:-@HOME@}"
}

mapped() {
    case $2 in
        host) echo "$1 host" ;;
        chroot) echo "$1 $root" ;;
        *) echo "$0: '$2' for $1: write host or chroot" >&2; exit 64 ;;
    esac
}

# The working folder, where the program has it, too.
folder() {
    if [ -d "$1$PWD" ]; then echo "$PWD"; else echo /; fi
}

if [ "${1:-}" = --mount ]; then
    ids=$2
    shift 2
    mount -t tmpfs -o mode=0755 flatwrap "$mount"
    list=$(places | sort)
    echo "$list" | while read -r path from; do
        [ "$from" = host ] && from=
        if [ -L "$from$path" ] && [ -n "$from" ]; then
            ln -s "$(readlink "$from$path")" "$mount$path"
        elif [ -d "$from$path" ]; then
            mkdir -p "$mount$path"
            mount --rbind "$from$path" "$mount$path"
        fi
    done
    where=$(folder "$mount")
    if [ -n "$ids" ]; then
        exec unshare --user --map-user="${ids%:*}" --map-group="${ids#*:}" --root="$mount" --wd="$where" -- "$@"
    fi
    exec unshare --root="$mount" --wd="$where" -- "$@"
fi

if [ "$(id -u)" -eq 0 ]; then
    exec unshare --mount -- "$0" --mount "" "$@"
fi
if [ -z "${NOBWRAP:-}" ] && command -v bwrap >/dev/null 2>&1; then
    program=$1
    shift
    list=$(places | sort)
    # The options stand in front of the program and its arguments, the last ones first.
    set -- -- "$program" "$@"
    where=/
    for path in $(echo "$list" | sort -r | cut -d' ' -f1); do
        from=$(echo "$list" | while read -r known source; do [ "$known" = "$path" ] && echo "$source"; done || true)
        [ "$from" = host ] && from=
        if [ -L "$from$path" ] && [ -n "$from" ]; then
            set -- --symlink "$(readlink "$from$path")" "$path" "$@"
        elif [ -d "$from$path" ]; then
            set -- --dev-bind "$from$path" "$path" "$@"
            case $PWD/ in "$path"/*) if [ -z "$from" ]; then where=$PWD; fi ;; esac
        fi
    done
    exec bwrap --chdir "$where" "$@"
fi
exec unshare --mount --user --map-root-user -- "$0" --mount "$(id -u):$(id -g)" "$@"
