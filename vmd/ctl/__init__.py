"""vmdctl: tools that QEMU has no word for."""
