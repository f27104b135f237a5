#!/bin/bash
# Makes the bundled samples anew: flatcar_sample.bin.bz2, flatcar_sample_4757.bin.bz2, hello.raw with a signature, and
# greeter.raw.
#
# Needs no root. The recipe is the one that tests use for all their images (tests/common/flatcar.rs, tests/sample.rs):
#   disk            sgdisk: partitions 1 2 3 4 6 7 9 with Flatcar's names, types and fixed identities, 378 MiB, mostly holes
#   1 EFI-SYSTEM    mkfs.vfat -F 32, mcopy: flatcar/first_boot, flatcar/vmlinuz-a (pseudo-random), EFI/boot, flatcar/grub
#   3 USR-A         mkfs.btrfs --mixed --rootdir: lib/os-release (4593.2.0), share/flatcar, two small built-in sysexts
#                   the sample of 4757: os-release of 4757.2.1, built-in sysexts as disk images with EROFS, /etc as a confext
#   6 OEM           mkfs.btrfs --mixed, empty, with the property compression=zlib on its top directory
#   9 ROOT          mke2fs -t ext4 -b 4096 -i 4096 -I 256: empty directories boot, oem, usr
#   hello.raw       mksquashfs; greeter.raw: mkfs.erofs
# mkfs.btrfs draws device and chunk tree UUIDs, so a second run differs from the first in those bytes.
set -euo pipefail
cd "$(dirname "$0")/../.."

FLATBAKE_REQUIRE_ORACLES=1 cargo test --quiet --test sample -- --ignored --exact make_the_sample
bzip2 --best --force testdata/sample/flatcar_sample.bin testdata/sample/flatcar_sample_4757.bin
ls -l testdata/sample

# A signature of hello.raw by a key that is made for it and then forgotten: hello.raw.sig and sample-key.asc.
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
gpg() {
    command gpg --homedir "$home" --batch --quiet --no-tty --pinentry-mode loopback --passphrase '' --yes "$@"
}
gpg --quick-gen-key 'flatbake sample <sample@example.org>' ed25519 cert never
primary=$(gpg --list-keys --with-colons | awk -F: '$1 == "fpr" { print $10; exit }')
gpg --quick-add-key "$primary" ed25519 sign never
gpg --detach-sign --output testdata/sample/hello.raw.sig testdata/sample/hello.raw
gpg --armor --export --output testdata/sample/sample-key.asc
gpgconf --homedir "$home" --kill gpg-agent
