#!/bin/sh
# From nothing to `virsh start` on vmd: sh examples/libvirt/first.sh, as root.
#
# Installs nothing by itself: what is missing is named, with the command that brings it. The domain
# has KVM where libvirt finds one, and is left running; the last lines say what to do with it. Another libvirt than the system's is used
# if LIBVIRT_DEFAULT_URI names it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
vmd=${VMD:-$root/.venv/bin/vmd}
export LIBVIRT_DEFAULT_URI="${LIBVIRT_DEFAULT_URI:-qemu:///system}"

missing() { echo "first.sh: $1" >&2; echo "          $2" >&2; exit 1; }

[ -x "$vmd" ] || make -C "$root" setup
command -v virsh >/dev/null || missing "there is no virsh here; on Debian:" \
    "apt-get install --no-install-recommends libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients"
virsh version >/dev/null 2>&1 || { command -v libvirtd >/dev/null && libvirtd -d; } || true
virsh version >/dev/null 2>&1 || missing "no libvirt answers at $LIBVIRT_DEFAULT_URI" \
    "systemctl start libvirtd, or libvirtd -d, as root; see docs/libvirt.md"
virsh domcapabilities --emulatorbin "$vmd" --virttype qemu >/dev/null || missing \
    "libvirt cannot run $vmd" "may libvirt's user read and run it? see docs/libvirt.md"

type=qemu
if virsh domcapabilities --emulatorbin "$vmd" --virttype kvm >/dev/null 2>&1; then type=kvm; fi

description=$(mktemp)
trap 'rm -f "$description"' EXIT
sed "s|/path/to/vmd|$vmd|; s|type='qemu'|type='$type'|" "$here/first.xml" >"$description"
virsh define "$description"
virsh start first
echo "The domain is $(virsh domstate --reason first)."
echo "Its guest says: $(timeout 5 head -n 1 "$(virsh ttyconsole first)" | tr -d '\r')"
echo
echo "Go on with:  virsh suspend first; virsh resume first; virsh save first ./first.saved"
echo "At the end:  virsh destroy first; virsh undefine first"
