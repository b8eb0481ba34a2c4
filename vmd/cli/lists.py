"""The parameters that each option takes, as QEMU's option lists. Constant data."""

from __future__ import annotations

from vmd.options import OptionList

ACCEL = OptionList("accel", "accel")
ACTION = OptionList(
    "action", None, dict.fromkeys(("reboot", "shutdown", "panic", "watchdog"), "str"), merge=True
)
GLOBAL = OptionList("global", None, dict.fromkeys(("driver", "property", "value"), "str"))
MEMORY = OptionList(
    "memory", "size", {"size": "size", "slots": "number", "maxmem": "size"}, merge=True
)
MON = OptionList("mon", "chardev", {"chardev": "str", "mode": "str", "pretty": "bool"})
MSG = OptionList("msg", None, {"timestamp": "bool", "guest-name": "bool"})
NAME = OptionList(
    "name", "guest", {"guest": "str", "process": "str", "debug-threads": "bool"}, merge=True
)
NUMA = OptionList("numa", "type")
OBJECT = OptionList("object", "qom-type")
OVERCOMMIT = OptionList("overcommit", None, {"mem-lock": "str", "cpu-pm": "bool"}, merge=True)
RTC = OptionList("rtc", None, dict.fromkeys(("base", "clock", "driftfix"), "str"), merge=True)
VMD = OptionList("vmd", "guest")

# -smp and -boot are keyval trees under a machine property; these kinds are for their help alone.
SMP_LEVELS = ("books", "clusters", "cores", "cpus", "dies", "drawers", "maxcpus", "modules")
SMP = OptionList("smp-opts", "cpus", dict.fromkeys((*SMP_LEVELS, "sockets", "threads"), "number"))
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

ACTIONS = {
    "reboot": ("reset", "shutdown"),
    "shutdown": ("poweroff", "pause"),
    "panic": ("pause", "shutdown", "exit-failure", "none"),
    "watchdog": ("reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"),
}
