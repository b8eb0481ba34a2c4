"""Who vmd is: QEMU's version, because that is what it behaves like, and its own as the package."""

QEMU_MAJOR, QEMU_MINOR, QEMU_MICRO = 10, 0, 2
QEMU_VERSION = f"{QEMU_MAJOR}.{QEMU_MINOR}.{QEMU_MICRO}"
PACKAGE = "vmd 0.1.0"


def version_info() -> dict[str, object]:
    """The schema's VersionInfo, as in the greeting."""
    qemu = {"major": QEMU_MAJOR, "minor": QEMU_MINOR, "micro": QEMU_MICRO}
    return {"qemu": qemu, "package": PACKAGE}
