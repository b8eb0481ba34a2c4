"""Ask libvirt for save files in each of its formats, and keep them: `python -m …record_libvirt`.

Run by hand where virsh and real QEMU are installed. The domain is a q35 with a firmware of zeros,
that is stopped before it runs: so that little is in the file, and nothing that is anybody else's.
"""

from __future__ import annotations

import lzma
import subprocess
import tempfile
from pathlib import Path

from tests.clients.libvirt.ground import QEMU_CONF

KEPT = Path(__file__).with_name("data")
FORMATS = ("raw", "gzip", "bzip2", "xz", "zstd", "lzop", "sparse")
DOMAIN = """\
<domain type='qemu'>
  <name>saved</name>
  <uuid>00112233-4455-6677-8899-aabbccddeeff</uuid>
  <memory unit='MiB'>8</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>
    <loader readonly='yes' type='rom'>{loader}</loader>
  </os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="vmd-") as name:
        directory = Path(name)
        settings = directory / "root" / "etc" / "qemu.conf"
        settings.parent.mkdir(parents=True)
        settings.write_text(QEMU_CONF)
        loader = directory / "firmware"
        loader.write_bytes(bytes(65536))
        (directory / "domain.xml").write_text(DOMAIN.format(loader=loader))
        words = "".join(
            f"create --paused domain.xml; save --image-format {kind} saved {kind};"
            for kind in FORMATS
        )
        uri = f"qemu:///embed?root={directory}/root"
        subprocess.run(["virsh", "--connect", uri, words], cwd=directory, check=True)
        for kind in FORMATS:
            data = (directory / kind).read_bytes()
            (KEPT / f"libvirt-{kind}.xz").write_bytes(lzma.compress(data, preset=9))


if __name__ == "__main__":
    main()
