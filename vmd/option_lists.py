"""The parameters that each option takes, as QEMU's option lists. Constant data.

Parameters stand in the order of QEMU's declarations; clients are told them backwards.
"""

from __future__ import annotations

from vmd.chardev.options import CHARDEV
from vmd.options import OptionList

ACCEL = OptionList("accel", "accel")
ACTION = OptionList(
    "action", None, dict.fromkeys(("shutdown", "reboot", "panic", "watchdog"), "str"), merge=True
)
ADD_FD = OptionList("add-fd", None, {"fd": "number", "set": "number", "opaque": "str"})
DEVICE = OptionList("device", "driver")
DRIVE = OptionList("drive", None)
GLOBAL = OptionList("global", None, dict.fromkeys(("driver", "property", "value"), "str"))
MEMORY = OptionList(
    "memory", "size", {"size": "size", "slots": "number", "maxmem": "size"}, merge=True
)
MON = OptionList("mon", "chardev", {"mode": "str", "chardev": "str", "pretty": "bool"})
MSG = OptionList("msg", None, {"timestamp": "bool", "guest-name": "bool"})
NAME = OptionList(
    "name", "guest", {"guest": "str", "process": "str", "debug-threads": "bool"}, merge=True
)
NET = OptionList("net", "type")
NETDEV = OptionList("netdev", "type")
NIC = OptionList("nic", "type")
NUMA = OptionList("numa", "type")
OBJECT = OptionList("object", "qom-type")
OVERCOMMIT = OptionList("overcommit", None, {"mem-lock": "str", "cpu-pm": "bool"}, merge=True)
TRACE = OptionList("trace", "enable", dict.fromkeys(("enable", "events", "file"), "str"))
RTC = OptionList("rtc", None, dict.fromkeys(("base", "clock", "driftfix"), "str"), merge=True)
VMD = OptionList("vmd", "guest")
ON_OFF_AUTO = ("on", "off", "auto")
VNC = OptionList(
    "vnc",
    "vnc",
    {
        "vnc": "str",
        "share": "str",
        "to": "number",
        "ipv4": "bool",
        "ipv6": "bool",
        "password": "bool",
        "password-secret": "str",
        "lossy": "bool",
        "non-adaptive": "bool",
        "audiodev": "str",
    },
)

# -smp and -boot are keyval trees under a machine property; these kinds are for their help alone.
SMP_LEVELS = ("drawers", "books", "sockets", "dies", "clusters", "modules", "cores", "threads")
SMP = OptionList("smp-opts", "cpus", dict.fromkeys(("cpus", *SMP_LEVELS, "maxcpus"), "number"))
BOOT = OptionList(
    "boot-opts",
    "order",
    {
        "order": "str",
        "once": "str",
        "menu": "bool",
        "splash": "str",
        "splash-time": "number",
        "reboot-timeout": "number",
        "strict": "bool",
    },
)

LISTS = (
    *(ACTION, NUMA, NAME, MSG, OVERCOMMIT, OBJECT, BOOT, SMP, MEMORY, ACCEL, TRACE, MON, GLOBAL),
    *(RTC, CHARDEV, VNC, VMD),
)
"""All of them, in QEMU's order; `machine` is not among them: see machine_parameters."""


def parameters(known: OptionList) -> list[dict[str, object]]:
    """A list's parameters as CommandLineParameterInfo."""
    defaults = known.defaults or {}
    return [
        {
            "name": name,
            "type": _TYPES[kind],
            **({"default": defaults[name]} if name in defaults else {}),
        }
        for name, kind in (known.kinds or {}).items()
    ]


def machine_parameters() -> list[dict[str, object]]:
    """What `-machine` takes: the properties of all boards together."""
    from vmd.devices.machines import MACHINES

    found: dict[str, dict[str, object]] = {
        name: {"name": name, "type": _TYPES[kind], "help": text}
        for machine in MACHINES
        for name, (kind, text) in (*machine.properties.items(), *_OBJECTS)
        if name not in _UNTOLD
    }
    return [*found.values(), {"name": "type", "type": "string", "help": "Machine type"}]


_TYPES = {
    "bool": "boolean",
    "number": "number",
    "OnOffAuto": "boolean",
    "size": "size",
    "str": "string",
    "string": "string",
}
_OBJECTS = (
    ("smp", ("string", "Number of CPUs, and how they are nested")),
    ("memory", ("string", "Size of the RAM")),
    ("boot", ("string", "What to boot from")),
)
# QEMU tells the properties of machine classes; these some instances have.
_UNTOLD = ("hmat", "nvdimm")
