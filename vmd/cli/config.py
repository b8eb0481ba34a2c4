"""What a command line asks for, as plain data: the result of `parse`.

Everything here is typed, but what QEMU judges only later (when chardevs open, when the machine is
built) is kept as it was written, with `where`: the words to put in front of an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vmd.devices.topology import Topology

if TYPE_CHECKING:
    from vmd.cli.cpus import NumaNode
    from vmd.cli.nets import Wish
    from vmd.kvm import Kvm
    from vmd.options import Options, Tree

MIB = 1 << 20
DEFAULT_RAM = 128 * MIB


class Request(NamedTuple):
    """An option that is judged later: `where` it stood, and its parameters."""

    where: str
    options: Options


# `-chardev`, or what a `-qmp`, `-monitor` or the defaults imply; see ports.chardev_of.
ChardevRequest = Request
# `-mon`, or what a `-qmp` or `-monitor` implies; see ports.monitor_of.
MonitorRequest = Request
# `-accel`; see settle.
AccelRequest = Request
# `-numa`; see cpus.numa_nodes.
NumaRequest = Request


class PortRequest:
    """A `-serial` or `-parallel`: its text names a chardev. See ports.port_of."""

    __slots__ = ("text", "where")

    def __init__(self, where: str, text: str) -> None:
        self.where = where
        self.text = text


class ObjectRequest:
    """An `-object`, checked against the schema: the arguments of an object-add."""

    __slots__ = ("properties", "where")

    def __init__(self, where: str, properties: dict[str, object]) -> None:
        self.where = where
        self.properties = properties


class DeviceRequest(NamedTuple):
    """A `-device`: device_add's options. Values of one that is not JSON are `values.Written`."""

    where: str
    options: dict[str, object]
    is_json: bool


class NetRequest(NamedTuple):
    """A `-nic` (`is_pair`: a device with its backend) or a `-net` (one end of a hub)."""

    where: str
    options: Options
    is_pair: bool


class IncomingRequest:
    """An `-incoming`: kind is "defer", "uri" (value a string) or "channel" (a MigrationChannel)."""

    __slots__ = ("kind", "value", "where")

    def __init__(self, where: str, kind: str, value: object) -> None:
        self.where = where
        self.kind = kind
        self.value = value


class GlobalRequest:
    """A `-global DRIVER.PROPERTY=VALUE`; as text it is just that."""

    __slots__ = ("driver", "property", "value", "where")

    def __init__(self, where: str, driver: str, property: str, value: str) -> None:
        self.where = where
        self.driver = driver
        self.property = property
        self.value = value

    def __str__(self) -> str:
        return f"{self.driver}.{self.property}={self.value}"


class CpuRequest:
    """`-cpu MODEL,feature=value,+name,-name`; `toggled` are the latter. See cpus.check_cpu."""

    __slots__ = ("features", "model", "toggled")

    def __init__(
        self, model: str, features: list[tuple[str, str]], toggled: list[tuple[str, str]]
    ) -> None:
        self.model = model
        self.features = features
        self.toggled = toggled


class Memory(NamedTuple):
    """Guest RAM in bytes. `given`: a size stood on the command line."""

    size: int = DEFAULT_RAM
    slots: int = 0
    max_size: int = DEFAULT_RAM
    given: bool = False


class Rtc(NamedTuple):
    """`-rtc`: base is "utc", "localtime" or a date."""

    base: str = "utc"
    clock: str = "host"
    driftfix: str = "none"


class Config:
    """The whole command line. Lists are in order of appearance."""

    def __init__(self, program: str) -> None:
        self.program = program
        # What is judged when the machine is made: see settle.py, which fills the second block
        self.machine_tree: dict[str, Tree | str] = {}
        self.accels: list[AccelRequest] = []
        self.slots_without_max = False

        self.machine = ""  # the type's own name, "pc-q35-10.0"
        self.machine_properties: dict[str, object] = {}
        self.memory = Memory()
        self.smp = Topology()
        self.boot: dict[str, object] = {}
        self.accel = ""
        self.accel_properties: dict[str, object] = {}
        self.kvm_accel: Kvm | None = None  # if that is the accelerator

        self.cpu: CpuRequest | None = None
        self.objects: list[ObjectRequest] = []
        self.globals: list[GlobalRequest] = []
        self.devices: list[DeviceRequest] = []
        self.netdevs: list[ObjectRequest] = []
        self.nets: list[NetRequest] = []
        self.wishes: list[Wish] = []  # what has become of them: see nets
        self.blockdevs: list[ObjectRequest] = []
        self.added_fds: list[Request] = []
        self.audiodevs: list[dict[str, object]] = []
        self.displays: list[Request] = []  # -vnc
        self.numa: list[NumaRequest] = []
        self.numa_nodes: dict[int, NumaNode] | None = None  # what has become of them so far
        self.chardevs: list[ChardevRequest] = []
        self.monitors: list[MonitorRequest] = []
        self.serials: list[PortRequest] = []
        self.parallels: list[PortRequest] = []
        self.qtest: str | None = None  # a chardev, in the words of -serial
        self.qtest_log: str | None = None  # None: stderr

        self.name: str | None = None
        self.process_name: str | None = None
        self.debug_threads = False
        self.uuid: str | None = None
        self.paused = False
        self.incoming: list[IncomingRequest] = []
        self.only_migratable = False
        self.actions: dict[str, str] = {}  # -action, in QAPI's words; of the rest the default
        self.rtc = Rtc()

        self.defaults = True  # False: -nodefaults
        self.has_network = False  # -netdev, -nic or -net: no other than these
        self.nographic = False
        self.on_terminal = False  # -nographic, and something is there that would talk to stdio
        self.vga: str | None = None
        self.daemonize = False
        self.preconfig = False
        self.pidfile: str | None = None
        self.logfile: str | None = None
        self.log_items: str | None = None  # -d
        self.trace: list[str] = []  # patterns of events, in order, with `-` in front to switch off
        self.trace_file: str | None = None
        self.memory_lock = "off"  # "on", "off" or "on-fault"
        self.drives: list[Request] = []
        self.kvm = "auto"  # -vmd kvm=on|off|auto: whether there is one; auto asks the host
        self.vmd: dict[str, str] = {}  # -vmd guest=NAME[,key=value…]
        self.terminal: dict[str, str] = {}  # -vmd history=…,events=…: the monitor on a terminal

    @property
    def has_default_network(self) -> bool:
        """Whether there is a network that nobody asked for."""
        return self.defaults and not self.has_network
