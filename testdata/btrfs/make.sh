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
    sync
    for at in 3 17 40; do echo "patch $at" | dd of="$d/etc/patched" bs=4096 seek=$at conv=notrunc status=none; done
    sync
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
    elif [ "$name" = kernel-small ]; then
        fill_small "$work/mnt"
        umount "$work/mnt"
    else
        fill "$work/mnt"
        umount "$work/mnt"
    fi
    btrfs check --readonly --check-data-csum "$img" >/dev/null 2>&1
    mount -o loop,ro "$img" "$work/mnt"
    python3 "$here/manifest.py" "$work/mnt" | zstd -q -19 -f -o "$out/$name.tree.zst"
    umount "$work/mnt"
    zstd -q -19 -f "$img" -o "$out/$name.img.zst"
}

make kernel-small "--mixed -n 4096" compress=zlib 16M
make kernel-zstd "--csum xxhash" compress-force=zstd 160M
make kernel-lzo "--csum sha256 -n 65536" compress=lzo 128M
make kernel-zlib "--csum blake2 --mixed -n 4096" compress=zlib 64M
make kernel-plain "-O ^no-holes -R ^free-space-tree -n 4096" compress=none 128M
