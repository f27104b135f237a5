#!/usr/bin/env python3
"""Creates files whose names have the same btrfs name hash (CRC-32C seeded with ~1) in the folder given."""
import os
import sys

TABLE = []
for n in range(256):
    for _ in range(8):
        n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def name_hash(name):
    crc = 0xFFFFFFFE
    for byte in name:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc


seen = {}
found = 0
number = 0
while found < 3:
    name = b"collide-%d" % number
    number += 1
    other = seen.setdefault(name_hash(name), name)
    if other != name:
        found += 1
        for each in (other, name):
            with open(os.path.join(os.fsencode(sys.argv[1]), each), "wb") as file:
                file.write(each)
