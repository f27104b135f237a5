set -eu

usage() {
    cat <<END
Usage: $0 [options] [--] [options of QEMU]

Starts the virtual machine $VM_NAME with QEMU. What follows the first word that
is none of these options is handed to QEMU.

  -i FILE   Ignition config (read on the first boot only; for a machine that has
            booted before, or a kernel given by name, add: -append flatcar.first_boot=1)
  -u FILE   user data for coreos-cloudinit
  -c FILE   config drive: an image of a filesystem
  -a FILE   public SSH keys that may log in as core; without it, those of the SSH
            agent and ~/.ssh/id_*.pub (only one of -u, -c and -a can be given)
  -p PORT   port of this computer that leads to the machine's SSH [$SSH_PORT]
  -f H:G    port H of this computer leads to port G of the machine; may be repeated
  -M MIB    memory [$VM_MEMORY]
  -I FILE   disk image
  -D OPTS   more options of this disk, as QEMU's virtio-blk-pci knows them
  -d FILE   image of another disk; may be repeated
  -R FILE   UEFI firmware, only read
  -W FILE   UEFI variables, read and written
  -K FILE   kernel to be started without a boot loader
  -r FILE   initial RAM disk for it
  -T DIR    folder of a TPM 2.0, emulated by swtpm
  -s        safe: one processor, no acceleration
  -v        show every command
  -h        show this
END
}

die() {
    echo "$0: $*" >&2
    exit 1
}

# The path of a file that lies beside this script; nothing for nothing.
beside() {
    [ -z "$1" ] || printf '%s/%s' "$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)" "$1"
}

# A value within an option of QEMU, where commas separate and two of them are one.
value() {
    printf '%s\n' "$1" | sed 's/,/,,/g'
}

# A file as QEMU wants it: its format, told by its first bytes, and its path.
image() {
    case "$(head -c 3 -- "$1" | tr -d '\000')" in
        QFI) printf 'format=qcow2,file=%s' "$(value "$1")" ;;
        *) printf 'format=raw,file=%s' "$(value "$1")" ;;
    esac
}

port() {
    case "$1" in
        '' | *[!0-9]*) die "'$1' is not a port" ;;
    esac
}

SSH_PORT=2222
VM_NCPUS=$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
VM_IMAGE=$(beside "$VM_IMAGE")
VM_KERNEL=$(beside "$VM_KERNEL")
VM_INITRD=$(beside "$VM_INITRD")
VM_CDROM=$(beside "$VM_CDROM")
VM_PFLASH_RO=$(beside "$VM_PFLASH_RO")
VM_PFLASH_RW=$(beside "$VM_PFLASH_RW")
IGNITION_CONFIG_FILE=
CLOUD_CONFIG_FILE=
CONFIG_IMAGE=
SSH_KEYS=
SWTPM_DIR=
FORWARDS=
SAFE_ARGS=0
DISK_OPTS=
DISKS=

while [ $# -gt 0 ]; do
    case "$1" in
        -[iucapfMIDdRWKrT] | -ignition-config | -user-data | -config-drive | -authorized-keys | -ssh-port | \
            -forward-port | -memory | -image-file | -image-disk-opts | -disk | -pflash-ro | -pflash-rw | -kernel-file | -initrd-file | -tpm)
            [ $# -ge 2 ] || die "$1 needs a value, see $0 -h" ;;
    esac
    case "$1" in
        -i | -ignition-config) IGNITION_CONFIG_FILE=$2 && shift 2 ;;
        -u | -user-data) CLOUD_CONFIG_FILE=$2 && shift 2 ;;
        -c | -config-drive) CONFIG_IMAGE=$2 && shift 2 ;;
        -a | -authorized-keys) SSH_KEYS=$2 && shift 2 ;;
        -p | -ssh-port) SSH_PORT=$2 && shift 2 ;;
        -f | -forward-port) FORWARDS="$FORWARDS $2" && shift 2 ;;
        -M | -memory) VM_MEMORY=$2 && shift 2 ;;
        -I | -image-file) VM_IMAGE=$2 && shift 2 ;;
        -D | -image-disk-opts) DISK_OPTS=$2 && shift 2 ;;
        -d | -disk) DISKS="$DISKS${DISKS:+
}$2" && shift 2 ;;
        -R | -pflash-ro) VM_PFLASH_RO=$2 && shift 2 ;;
        -W | -pflash-rw) VM_PFLASH_RW=$2 && shift 2 ;;
        -K | -kernel-file) VM_KERNEL=$2 && shift 2 ;;
        -r | -initrd-file) VM_INITRD=$2 && shift 2 ;;
        -T | -tpm) SWTPM_DIR=$2 && shift 2 ;;
        -s | -safe) SAFE_ARGS=1 && shift ;;
        -v | -verbose) set -x && shift ;;
        -h | -help | --help) usage && exit ;;
        --) shift && break ;;
        *) break ;;
    esac
done

case "$VM_BOARD" in
    amd64-usr) QEMU=qemu-system-x86_64 MACHINE=q35 TPM=tpm-tis ;;
    arm64-usr) QEMU=qemu-system-aarch64 MACHINE=virt,gic-version=max TPM=tpm-tis-device ;;
    *) die "unknown board $VM_BOARD" ;;
esac
command -v "$QEMU" >/dev/null || die "$QEMU is not installed"

# Acceleration where the processor of this computer is of the machine's kind.
ACCEL=tcg
case "$SAFE_ARGS $(uname -s) $(uname -m) $VM_BOARD" in
    '0 Linux x86_64 amd64-usr' | '0 Linux aarch64 arm64-usr') [ ! -w /dev/kvm ] || ACCEL=kvm ;;
    '0 Darwin x86_64 amd64-usr' | '0 Darwin arm64 arm64-usr') ACCEL=hvf ;;
esac
case "$SAFE_ARGS $ACCEL" in
    1*) CPU=max VM_NCPUS=1 ;;
    *tcg) CPU=max VM_NCPUS=$((VM_NCPUS < 4 ? VM_NCPUS : 4)) ;;
    *) CPU=host ;;
esac

# Firmware of the host stands in for files that are not there.
host_firmware() {
    [ "$SECURE_BOOT" = 0 ] || die "$VM_PFLASH_RO is missing: name firmware for Secure Boot with -R and -W"
    case "$VM_BOARD" in
        amd64-usr)
            set -- /usr/share/OVMF/OVMF_CODE_4M.fd /usr/share/OVMF/OVMF_VARS_4M.fd \
                /usr/share/edk2/x64/OVMF_CODE.4m.fd /usr/share/edk2/x64/OVMF_VARS.4m.fd \
                /usr/share/edk2/ovmf/OVMF_CODE.fd /usr/share/edk2/ovmf/OVMF_VARS.fd ;;
        *)
            set -- /usr/share/AAVMF/AAVMF_CODE.fd /usr/share/AAVMF/AAVMF_VARS.fd \
                /usr/share/edk2/aarch64/QEMU_EFI-pflash.raw /usr/share/edk2/aarch64/vars-template-pflash.raw ;;
    esac
    while [ $# -gt 0 ]; do
        if [ -r "$1" ] && [ -r "$2" ]; then
            VM_PFLASH_RO=$1
            [ -e "$VM_PFLASH_RW" ] || cp -- "$2" "$VM_PFLASH_RW"
            return
        fi
        shift 2
    done
    die "$VM_PFLASH_RO is missing: install OVMF (amd64) or AAVMF (arm64), or name firmware with -R and -W"
}

case "${VM_PFLASH_RO:+R}${VM_PFLASH_RW:+W}" in
    R | W) die "-R and -W belong together" ;;
    RW) [ -e "$VM_PFLASH_RO" ] || host_firmware ;;
esac
for given in "$VM_PFLASH_RO" "$VM_PFLASH_RW" "$VM_IMAGE" "$VM_CDROM" "$VM_KERNEL" "$VM_INITRD" \
    "$IGNITION_CONFIG_FILE" "$CLOUD_CONFIG_FILE" "$CONFIG_IMAGE" "$SSH_KEYS"; do
    [ -z "$given" ] || [ -r "$given" ] || die "cannot read $given"
done

if [ -n "$VM_PFLASH_RO" ]; then
    set -- -drive "if=pflash,unit=0,readonly=on,$(image "$VM_PFLASH_RO")" \
        -drive "if=pflash,unit=1,$(image "$VM_PFLASH_RW")" "$@"
fi
if [ "$SECURE_BOOT" = 1 ] && [ "$VM_BOARD" = amd64-usr ]; then
    MACHINE="$MACHINE,smm=on"
    set -- -global driver=cfi.pflash01,property=secure,value=on -global ICH9-LPC.disable_s3=1 "$@"
fi
[ "$VM_BOARD" != arm64-usr ] || set -- -nographic "$@"

# The config drive: a folder that the machine mounts by the name config-2.
CONFIG_DRIVE=
cleanup() {
    [ -z "$CONFIG_DRIVE" ] || rm -rf -- "$CONFIG_DRIVE"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP

find_ssh_keys() {
    if [ -n "$SSH_KEYS" ]; then
        cat -- "$SSH_KEYS"
        return
    fi
    # An agent without keys says so in a sentence.
    [ ! -S "${SSH_AUTH_SOCK:-}" ] || ssh-add -L | sed -n '/^[a-z]/p'
    for key in "${HOME:-}"/.ssh/id_*.pub; do
        [ ! -f "$key" ] || cat -- "$key"
    done
}

user_data() {
    if [ -n "$CLOUD_CONFIG_FILE" ]; then
        cat -- "$CLOUD_CONFIG_FILE"
    else
        printf '#cloud-config\nssh_authorized_keys:\n'
        find_ssh_keys | sed -n -e '/^ *#/d' -e '/^ *$/d' -e "s/'/''/g" -e "s/.*/ - '&'/p"
    fi
}

GIVEN=0
for given in "$CLOUD_CONFIG_FILE" "$CONFIG_IMAGE" "$SSH_KEYS"; do
    [ -z "$given" ] || GIVEN=$((GIVEN + 1))
done
[ "$GIVEN" -le 1 ] || die "only one of -u, -c and -a can be given"

if [ -n "$CONFIG_IMAGE" ]; then
    set -- -drive "if=virtio,$(image "$CONFIG_IMAGE")" "$@"
else
    CONFIG_DRIVE=$(mktemp -d)
    mkdir -p -- "$CONFIG_DRIVE/openstack/latest"
    user_data >"$CONFIG_DRIVE/openstack/latest/user_data"
    set -- -fsdev "local,id=conf,security_model=none,readonly=on,path=$(value "$CONFIG_DRIVE")" \
        -device virtio-9p-pci,fsdev=conf,mount_tag=config-2 "$@"
fi

if [ -n "$SWTPM_DIR" ]; then
    command -v swtpm >/dev/null || die "swtpm is not installed"
    mkdir -p -- "$SWTPM_DIR"
    swtpm socket --tpm2 --daemon --tpmstate "dir=$SWTPM_DIR" --ctrl "type=unixio,path=$SWTPM_DIR/socket,terminate"
    set -- -chardev "socket,id=tpm,path=$(value "$SWTPM_DIR/socket")" -tpmdev emulator,id=tpm0,chardev=tpm \
        -device "$TPM,tpmdev=tpm0" "$@"
fi

[ -z "$IGNITION_CONFIG_FILE" ] ||
    set -- -fw_cfg "name=opt/org.flatcar-linux/config,file=$(value "$IGNITION_CONFIG_FILE")" "$@"
# Further disks, a line each: they come behind the one that is started.
NUMBER=0
while IFS= read -r disk; do
    [ -n "$disk" ] || continue
    [ -r "$disk" ] || die "cannot read $disk"
    NUMBER=$((NUMBER + 1))
    set -- -drive "if=none,id=disk$NUMBER,$(image "$disk")" -device "virtio-blk-pci,drive=disk$NUMBER" "$@"
done <<END
$DISKS
END
[ -z "$VM_IMAGE" ] ||
    set -- -drive "if=none,id=disk,$(image "$VM_IMAGE")" \
        -device "virtio-blk-pci,drive=disk,bootindex=1${DISK_OPTS:+,$DISK_OPTS}" "$@"
[ -z "$VM_CDROM" ] || set -- -boot order=d -drive "media=cdrom,readonly=on,$(image "$VM_CDROM")" "$@"
[ -z "$VM_KERNEL" ] || set -- -kernel "$VM_KERNEL" "$@"
[ -z "$VM_INITRD" ] || set -- -initrd "$VM_INITRD" "$@"
[ -z "$VM_APPEND" ] || set -- -append "$VM_APPEND" "$@"

port "$SSH_PORT"
NETWORK="user,id=eth0,hostname=$(value "$VM_NAME"),hostfwd=tcp:127.0.0.1:$SSH_PORT-:22"
for forward in $FORWARDS; do
    port "${forward%%:*}"
    port "${forward#*:}"
    NETWORK="$NETWORK,hostfwd=tcp:127.0.0.1:${forward%%:*}-:${forward#*:}"
done

"$QEMU" -name "guest=$(value "$VM_NAME")" -machine "$MACHINE,accel=$ACCEL" -cpu "$CPU" -smp "$VM_NCPUS" -m "$VM_MEMORY" \
    -netdev "$NETWORK" -device virtio-net-pci,netdev=eth0 \
    -object rng-random,filename=/dev/urandom,id=rng0 -device virtio-rng-pci,rng=rng0 "$@"
