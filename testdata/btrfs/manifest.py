#!/usr/bin/env python3
"""Prints a mounted tree, one entry a line, in the form that tests/btrfs/manifest.rs gives for our own view of it."""
import hashlib
import os
import stat
import sys


def shown(name):
    return "".join(chr(b) if 0x21 <= b < 0x7F and b != 0x5C else f"\\x{b:02x}" for b in name)


def content(path, info):
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFREG:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if kind == stat.S_IFLNK:
        return shown(os.readlink(path))
    if kind in (stat.S_IFCHR, stat.S_IFBLK):
        return f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    return "-"


def line(path, top, first):
    info = os.lstat(path)
    names = sorted(os.fsencode(name) for name in os.listxattr(path, follow_symlinks=False))
    xattrs = [f"{shown(n)}={shown(os.getxattr(path, n, follow_symlinks=False))}" for n in names]
    name = path[len(top):] or b"/"
    directory = stat.S_ISDIR(info.st_mode)
    fields = [
        shown(name),
        f"{info.st_mode:o}",
        f"{info.st_uid}:{info.st_gid}",
        "-" if directory else str(info.st_size),
        "-" if directory else str(info.st_nlink),
        f"{info.st_mtime_ns // 10**9}.{info.st_mtime_ns % 10**9:09}",
        first.setdefault(info.st_ino, shown(name)),
        content(path, info),
        *xattrs,
    ]
    return " ".join(fields)


def walk(path, top, first):
    print(line(path, top, first))
    if os.path.isdir(path) and not os.path.islink(path):
        for name in sorted(os.listdir(path)):
            walk(os.path.join(path, name), top, first)


top = os.fsencode(sys.argv[1])
walk(top, top, {})
