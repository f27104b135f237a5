#!/bin/bash
# Makes the kernel-*.img.zst fixtures and their .tree.zst listings. Needs root (loop mounts), btrfs-progs, attr, python3, zstd.
# Usage: make.sh OUTPUT_FOLDER
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'umount "$work/mnt" 2>/dev/null || true; rm -rf "$work"' EXIT
mkdir "$work/mnt"

# Content that compresses, content that does not, and every shape of file.
fill() {
    local d=$1
    mkdir -p "$d/bin" "$d/etc/deep/er" "$d/many"
    seq 1 60000 > "$d/bin/numbers"
    head -c 40000 /dev/urandom > "$d/bin/noise"
    seq 1 1200 > "$d/etc/medium"
    echo short > "$d/etc/short"
    : > "$d/etc/empty"
    head -c 2000 /dev/zero | tr '\0' 'x' > "$d/etc/inline"
    truncate -s 3M "$d/etc/sparse"
    seq 1 3000 | dd of="$d/etc/sparse" bs=4096 seek=300 conv=notrunc status=none
    echo tail >> "$d/etc/sparse"
    fallocate -l 300000 "$d/etc/preallocated"
    seq 1 2000 | dd of="$d/etc/preallocated" conv=notrunc status=none
    seq 1 50000 > "$d/etc/patched"
    sync -f "$d"
    for at in 3 17 40; do echo "patch $at" | dd of="$d/etc/patched" bs=4096 seek=$at conv=notrunc status=none; done
    sync -f "$d"
    cp --reflink=always "$d/bin/numbers" "$d/etc/reflink"
    truncate -s 131200 "$d/etc/reflink"
    echo nocow > "$d/etc/nocow"
    touch "$d/etc/nodatacow"; chattr +C "$d/etc/nodatacow"; seq 1 4000 > "$d/etc/nodatacow"
    for i in $(seq 1 200); do echo "file $i" > "$d/many/$(printf 'a-rather-long-name-for-file-number-%05d' "$i")"; done
    # More hard links in one directory than one INODE_REF item holds: INODE_EXTREF takes over.
    echo linked > "$d/many/linked"
    for i in $(seq 1 400); do ln "$d/many/linked" "$d/etc/deep/er/link-with-a-name-of-some-length-$i"; done
    # Two names with one hash (crc32c collision) share one DIR_ITEM.
    python3 "$here/collide.py" "$d/etc/deep"
    ln -s ../bin/numbers "$d/etc/link"
    ln -s /etc/medium "$d/etc/absolute"
    mknod "$d/etc/console" c 5 1
    mknod "$d/etc/disk" b 259 1048575
    mkfifo "$d/etc/fifo"
    chmod 4755 "$d/bin/noise"
    chown 1000:2000 "$d/etc/medium"
    setfattr -n user.comment -v "some value" "$d/etc/medium"
    setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 "$d/bin/numbers"
    setfattr -n user.long -v "$(head -c 1500 /dev/zero | tr '\0' 'v')" "$d/etc/short"
    touch -d '1923-04-05 06:07:08.123456789 UTC' "$d/etc/short"
    touch -d '2106-07-08 09:10:11 UTC' "$d/etc/empty"
    printf 'x' > "$d/etc/$(printf 'n%.0s' $(seq 1 255))"
    printf 'y' > "$d/etc/$(printf 'bad\377\001 name')"
}

# A little of everything, for tests that read it thousands of times.
fill_small() {
    local d=$1
    mkdir -p "$d/a/b"
    seq 1 40000 > "$d/a/numbers"
    seq 1 300 > "$d/a/inline"
    head -c 5000 /dev/urandom > "$d/a/noise"
    truncate -s 1M "$d/a/b/sparse"; seq 1 3000 | dd of="$d/a/b/sparse" bs=4096 seek=100 conv=notrunc status=none
    for i in $(seq 1 12); do echo "file $i" > "$d/a/b/file-$i"; done
    ln "$d/a/inline" "$d/a/b/hard"
    ln -s ../a/numbers "$d/a/b/soft"
    mknod "$d/a/node" c 1 3
    setfattr -n user.comment -v "some value" "$d/a/inline"
}

# Extents in every relation to files: shared many times, in part, overwritten, preallocated, cut off, of a deleted file.
fill_shared() {
    local d=$1
    seq 1 30000 > "$d/packed"
    mkdir "$d/plain"; setfattr -n btrfs.compression -v none "$d/plain"
    seq 1 60000 > "$d/plain/original"
    fallocate -l 400000 "$d/plain/cut-off"
    seq 1 3000 | dd of="$d/plain/cut-off" conv=notrunc status=none
    fallocate -l 500000 "$d/plain/islands"
    sync -f "$d"
    truncate -s 13000 "$d/plain/cut-off"
    for at in 5 9 50; do echo "island $at" | dd of="$d/plain/islands" bs=4096 seek=$at conv=notrunc status=none; done
    sync -f "$d"
    fallocate -p -o 81920 -l 40960 "$d/plain/islands"
    mkdir "$d/copies"
    for i in $(seq 1 30); do
        cp --reflink=always "$d/packed" "$d/copies/packed-$i"
        cp --reflink=always "$d/plain/original" "$d/copies/plain-$i"
    done
    sync -f "$d"
    for i in 3 11 17; do
        echo "changed" | dd of="$d/copies/packed-$i" bs=4096 seek=$i conv=notrunc status=none
        echo "changed" | dd of="$d/copies/plain-$i" bs=4096 seek=$((i * 3)) conv=notrunc status=none
        fallocate -p -o $((i * 4096)) -l 8192 "$d/copies/plain-$((i + 1))"
    done
    # A file made of parts of another, some twice, in another order.
    python3 - "$d/plain/original" "$d/plain/parts" <<'PY'
import fcntl, struct, sys
FICLONERANGE = 0x4020940D
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as target:
    for at, start, length in [(0, 40960, 8192), (8192, 0, 4096), (12288, 40960, 8192), (65536, 200704, 131072)]:
        fcntl.ioctl(target, FICLONERANGE, struct.pack("qQQQ", source.fileno(), start, length, at))
PY
    sync -f "$d"
}

# name, mkfs options, mount options, size
make() {
    local name=$1 mkfs=$2 options=$3 size=$4
    local img="$work/$name.img"
    truncate -s "$size" "$img"
    # shellcheck disable=SC2086
    mkfs.btrfs -q $mkfs -L "$name" "$img"
    mount -o "loop,$options" "$img" "$work/mnt"
    if [ "$name" = kernel-zstd ]; then
        # Content in a default subvolume, with a snapshot of it beside.
        btrfs subvolume create "$work/mnt/root"
        fill "$work/mnt/root"
        btrfs subvolume snapshot -r "$work/mnt/root" "$work/mnt/snapshot"
        btrfs subvolume set-default "$work/mnt/root"
        echo top > "$work/mnt/only-at-the-top"
        umount "$work/mnt"
        btrfstune -f -m "$img"
    elif [ "$name" = kernel-shared ]; then
        fill_shared "$work/mnt"
        # Deleted while it is open: the filesystem remembers it as an orphan.
        seq 1 20000 > "$work/mnt/orphan"
        sync -f "$work/mnt"
        exec 9< "$work/mnt/orphan"
        rm "$work/mnt/orphan"
        sync -f "$work/mnt"
        cp --sparse=always "$img" "$img.copy"
        exec 9<&-
        umount "$work/mnt"
        mv "$img.copy" "$img"
    elif [ "$name" = kernel-small ]; then
        fill_small "$work/mnt"
        umount "$work/mnt"
    else
        fill "$work/mnt"
        umount "$work/mnt"
    fi
    btrfs check --readonly --check-data-csum "$img" >/dev/null 2>&1
    # Listed from a copy: even a read-only mount cleans up orphans.
    cp --sparse=always "$img" "$img.copy"
    mount -o loop,ro "$img.copy" "$work/mnt"
    python3 "$here/manifest.py" "$work/mnt" | zstd -q -19 -f -o "$out/$name.tree.zst"
    umount "$work/mnt"
    zstd -q -19 -f "$img" -o "$out/$name.img.zst"
}

make kernel-small "--mixed -n 4096" compress=zlib 16M
make kernel-shared "--mixed -n 4096" compress=zlib 32M
make kernel-zstd "--csum xxhash" compress-force=zstd 160M
make kernel-lzo "--csum sha256 -n 65536" compress=lzo 128M
make kernel-zlib "--csum blake2 --mixed -n 4096" compress=zlib 64M
make kernel-plain "-O ^no-holes -R ^free-space-tree -n 4096" compress=none 128M
