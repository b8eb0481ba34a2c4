"""The configuration that command lines become, and what the help options print."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.vmd.cli_judge import KeptReport, judge, read
from vmd.cli.config import Memory, Topology
from vmd.cli.cpus import check_cpu, numa_nodes
from vmd.cli.help import CHARDEV_KINDS, TEXTS
from vmd.cli.parse import parse
from vmd.cli.ports import chardev_of, monitor_of, needs_monitor, port_of
from vmd.cli.report import Quit
from vmd.cli.settle import settle
from vmd.cli.table import OPTIONS
from vmd.clock import HeldClock
from vmd.devices.host_cpu import host_cpu
from vmd.devices.machines import MACHINES

MIB = 1 << 20
NONE = ("-machine", "none")


def labels(*argv: str) -> list[tuple[str, str]]:
    """(label, kind) of the chardevs that are made for monitors, and of the serial ports."""
    config = read(argv)
    made = [chardev_of(request) for request in config.chardevs]
    for index, port in enumerate(config.serials):
        wanted = port_of(port, "serial", index, KeptReport())
        if wanted is not None and not isinstance(wanted, str):
            made.append(wanted)
    return [(each.label, each.backend["type"]) for each in made]


def test_a_live_update_session_is_understood_whole() -> None:
    config = read(
        [
            "-name", "guest=vm0,debug-threads=on", "-machine", "none,memory-backend=ram0",
            "-m", "64M", "-object", "memory-backend-file,id=ram0,size=64M,mem-path=/x,share=on",
            "-qmp", "unix:/run/q,server=on,wait=off", "-monitor", "stdio", "-S",
            "-incoming", "defer", "-vmd", "guest=counter,speed=3", "-only-migratable",
        ]
    )  # fmt: skip
    assert (config.name, config.debug_threads) == ("vm0", True)
    assert config.machine == "none"
    assert config.machine_properties == {"memory-backend": "ram0"}
    assert config.memory == Memory(64 * MIB, 0, 64 * MIB, True)
    assert config.objects[0].properties == {
        "qom-type": "memory-backend-file",
        "id": "ram0",
        "size": 64 * MIB,
        "mem-path": "/x",
        "share": True,
    }
    assert [monitor_of(request)[:3] for request in config.monitors] == [
        ("compat_monitor0", "control", False),
        ("compat_monitor1", "readline", False),
    ]
    assert config.paused and config.only_migratable
    assert [(each.kind, each.value) for each in config.incoming] == [("defer", "defer")]
    assert config.vmd == {"guest": "counter", "speed": "3"}


def test_an_object_may_be_json() -> None:
    text = "{'qom-type': 'memory-backend-ram', 'id': 'm', 'size': 4096}"
    assert read([*NONE, "-object", text]).objects[0].properties == {
        "qom-type": "memory-backend-ram",
        "id": "m",
        "size": 4096,
    }


def test_an_incoming_channel_may_be_keyval_or_json() -> None:
    address = {"transport": "file", "filename": "/x", "offset": 0}
    for text in (
        "main,addr.transport=file,addr.filename=/x,addr.offset=0",
        '{"channel-type": "main", "addr": {"transport": "file", "filename": "/x", "offset": 0}}',
    ):
        request = read([*NONE, "-incoming", text]).incoming[0]
        assert (request.kind, request.value) == (
            "channel",
            {"channel-type": "main", "addr": address},
        )


def test_machine_options_add_up_and_underscores_are_dashes() -> None:
    config = read(["-machine", "q35,usb=on", "-machine", "dump_guest_core=off,usb=off,"])
    assert config.machine == "pc-q35-10.0"
    assert config.machine_properties == {"usb": False, "dump-guest-core": False}


def test_a_machine_without_a_type_is_the_default_one() -> None:
    assert read([]).machine == "pc-i440fx-10.0"


@pytest.mark.parametrize(
    ("argument", "memory"),
    [
        ("256", Memory(256 * MIB, 0, 256 * MIB, True)),
        ("size=1.5G", Memory(1536 * MIB, 0, 1536 * MIB, True)),
        ("64M,slots=2,maxmem=1G", Memory(64 * MIB, 2, 1024 * MIB, True)),
        ("1k", Memory(8192, 0, 8192, True)),
        ("0", Memory(128 * MIB, 0, 128 * MIB, True)),
    ],
)
def test_memory_counts_mebibytes_and_is_rounded_up(argument: str, memory: Memory) -> None:
    assert read(["-machine", "q35", "-m", argument]).memory == memory


def test_without_a_size_the_machine_has_its_own() -> None:
    assert read(["-machine", "q35"]).memory == Memory(128 * MIB, 0, 128 * MIB, False)
    assert read(NONE).memory == Memory(0, 0, 0, False)


@pytest.mark.parametrize(
    ("argument", "topology"),
    [
        ("4", Topology(4, 4, cores=4)),
        ("2,maxcpus=8,sockets=2", Topology(2, 8, sockets=2, cores=4)),
        ("8,cores=2,threads=2", Topology(8, 8, sockets=2, cores=2, threads=2)),
        ("8,sockets=2,cores=2", Topology(8, 8, sockets=2, cores=2, threads=2)),
        ("sockets=2,cores=3", Topology(6, 6, sockets=2, cores=3)),
        ("4,dies=2", Topology(4, 4, dies=2, cores=2)),
    ],
)
def test_missing_levels_of_the_cpu_topology_are_filled_in(
    argument: str, topology: Topology
) -> None:
    assert read(["-machine", "q35", "-smp", argument]).smp == topology


def test_the_first_accelerator_that_is_there_is_taken() -> None:
    status, _, stderr = judge([*NONE, "-accel", "foo", "-accel", "tcg", "-accel", "qtest"])
    assert (status, stderr) == (
        0,
        "qemu-system-x86_64: -accel foo: invalid accelerator foo\n"
        "qemu-system-x86_64: falling back to tcg\n",
    )


def test_whether_there_is_a_kvm_can_be_said() -> None:
    kvm = (*NONE, "-machine", "accel=kvm:tcg", "-vmd")
    assert read([*kvm, "kvm=on"]).accel == "kvm"
    status, _, stderr = judge([*kvm, "kvm=off"])
    # In the words of a QEMU that finds no /dev/kvm.
    assert (status, stderr) == (
        0,
        "qemu-system-x86_64: Could not access KVM kernel module: No such file or directory\n"
        "qemu-system-x86_64: failed to initialize kvm: No such file or directory\n"
        "qemu-system-x86_64: falling back to tcg\n",
    )
    status, _, stderr = judge([*kvm, "kvm=maybe"])
    assert (status, stderr) == (
        1,
        "qemu-system-x86_64: -vmd kvm=maybe: Parameter 'kvm' does not accept value 'maybe'\n",
    )


def test_the_host_is_asked_unless_it_was_said() -> None:
    there = os.access("/dev/kvm", os.R_OK | os.W_OK)
    config = read([*NONE, "-machine", "accel=kvm:tcg"])
    assert config.accel == ("kvm" if there else "tcg")


def test_kvm_has_no_system_management_mode() -> None:
    # As real QEMU on a host whose KVM has none; the boards under KVM were recorded on such a one.
    kvm = ("-machine", "q35,accel=kvm,smm=on", "-cpu", "base", "-vmd", "kvm=on")
    report = KeptReport()
    config = read(kvm)
    with pytest.raises(Quit):
        check_cpu(config, report, host_cpu(None))
    text = "qemu-system-x86_64: System Management Mode not supported by this hypervisor.\n"
    assert report.said.endswith(text)


def test_a_program_called_kvm_tries_that_first() -> None:
    report = KeptReport()
    report.program = "kvm"
    config = parse(["/usr/bin/kvm", *NONE, "-vmd", "kvm=on"], report)
    settle(config, report)
    assert config.accel == "kvm"


def test_monitors_and_serial_ports_that_nobody_asked_for() -> None:
    assert labels("-machine", "q35") == [("compat_monitor0", "vc"), ("serial0", "vc")]
    assert labels("-machine", "q35", "-nodefaults") == []
    assert labels("-machine", "q35", "-nographic") == [("serial0", "stdio")]
    assert labels(*NONE, "-nographic") == [("compat_monitor0", "stdio")]
    assert labels(*NONE) == [("compat_monitor0", "vc")]
    assert labels("-machine", "q35", "-nographic", "-qmp", "null") == [
        ("compat_monitor0", "null"),
        ("serial0", "stdio"),
    ]
    assert labels(*NONE, "-monitor", "none") == []


def test_nographic_shares_the_terminal_between_monitor_and_serial_port() -> None:
    port = read(["-machine", "q35", "-nographic"]).serials[0]
    assert needs_monitor(port)
    wanted = port_of(port, "serial", 0, KeptReport())
    assert wanted is not None and not isinstance(wanted, str)
    assert wanted.mux and wanted.backend == {"type": "stdio", "data": {"signal": False}}


def test_a_serial_port_may_be_none_or_a_chardev_that_exists() -> None:
    ports = read([*NONE, "-serial", "none", "-serial", "chardev:a"]).serials
    assert port_of(ports[0], "serial", 0, KeptReport()) is None
    assert port_of(ports[1], "serial", 1, KeptReport()) == "a"


def test_a_muxed_serial_port_takes_the_default_monitor_away() -> None:
    assert labels("-machine", "q35", "-serial", "mon:null") == [("serial0", "null")]


def test_compat_monitors_are_counted_over_all_kinds() -> None:
    assert labels(*NONE, "-monitor", "null", "-qmp", "null", "-qmp-pretty", "pty") == [
        ("compat_monitor0", "null"),
        ("compat_monitor1", "null"),
        ("compat_monitor2", "pty"),
    ]


@pytest.mark.parametrize(
    ("argument", "data"),
    [
        (
            "socket,path=/p,server=on",
            {
                "addr": {"type": "unix", "data": {"path": "/p"}},
                "server": True,
                "wait": True,
            },
        ),
        (
            "socket,path=/p,abstract=on,reconnect-ms=20",
            {
                "addr": {"type": "unix", "data": {"path": "/p", "abstract": True}},
                "server": False,
                "reconnect-ms": 20,
            },
        ),
        (
            "socket,host=h,port=1,to=5,ipv6=off,delay=off,telnet=on",
            {
                "addr": {
                    "type": "inet",
                    "data": {"host": "h", "port": "1", "ipv6": False, "to": 5},
                },
                "server": False,
                "telnet": True,
                "nodelay": True,
            },
        ),
        ("socket,fd=7", {"addr": {"type": "fd", "data": {"str": "7"}}, "server": False}),
        ("file,path=o,append=on,input-path=i", {"out": "o", "append": True, "in": "i"}),
        ("pipe,path=p", {"device": "p"}),
        ("ringbuf,size=2k", {"size": 2048}),
        ("pty,path=l", {"path": "l"}),
        ("stdio,signal=off", {"signal": False}),
        ("null,logfile=l,logappend=on", {"logfile": "l", "logappend": True}),
        ("vc,cols=80,rows=24", {"cols": 80, "rows": 24}),
    ],
)
def test_chardev_options_become_the_schemas_backend(argument: str, data: object) -> None:
    kind = argument.split(",")[0]
    request = read([*NONE, "-chardev", f"{argument},id=a,mux=on"]).chardevs[0]
    assert chardev_of(request) == ("a", {"type": kind, "data": data}, True)


def test_actions_and_their_short_forms() -> None:
    config = read([*NONE, "-no-reboot", "-no-shutdown", "-action", "panic=none,watchdog=pause"])
    assert config.actions == {
        "reboot": "shutdown",
        "shutdown": "pause",
        "panic": "none",
        "watchdog": "pause",
    }


def test_globals_in_both_forms() -> None:
    config = read([*NONE, "-global", "migration.x=a,b", "-global", "driver=d,property=p,value=v"])
    assert [str(each) for each in config.globals] == ["migration.x=a,b", "d.p=v"]


def test_numa_nodes_are_sorted_by_number() -> None:
    config = read(
        ["-machine", "q35", "-smp", "3", "-numa", "node,nodeid=1,cpus=1-2", "-numa",
         "node,nodeid=0,memdev=m"]
    )  # fmt: skip
    nodes = numa_nodes(config, KeptReport())
    assert [(node.nodeid, node.memdev, set(node.cpus)) for node in nodes] == [
        (0, "m", set()),
        (1, None, {1, 2}),
    ]


def test_the_process_options() -> None:
    config = read(
        [*NONE, "-daemonize", "-pidfile", "p", "-D", "log", "-uuid",
         "12345678-1234-1234-1234-123456789ABC", "-rtc", "base=utc", "-rtc", "clock=vm",
         "-overcommit", "mem-lock=on-fault", "-name", "process=x"]
    )  # fmt: skip
    assert (config.daemonize, config.pidfile, config.logfile) == (True, "p", "log")
    assert config.uuid == "12345678-1234-1234-1234-123456789abc"
    assert config.rtc == ("utc", "vm", "none")
    assert (config.memory_lock, config.process_name, config.name) == ("on-fault", "x", None)


def test_options_may_start_with_two_dashes_and_are_quoted_as_typed() -> None:
    assert judge(["--machine", "none", "--uuid", "x"])[2] == (
        "qemu-system-x86_64: --uuid x: failed to parse UUID string: wrong format\n"
    )


def test_all_options_are_looked_at_before_the_first_one_acts() -> None:
    assert judge(["-version", "-m"]) == (1, "", "qemu-system-x86_64: -m: requires an argument\n")


def test_messages_carry_the_time_and_the_guests_name_when_asked() -> None:
    report = KeptReport()
    report._clock = HeldClock(wall_ns=1_700_000_000_123_456_789)
    report.timestamps = True
    report.guest_name = "vm0"
    report.error("no", "-x y", "try z")
    assert report.said == ("2023-11-14T22:13:20.123456Z vm0 qemu-system-x86_64: -x y: no\ntry z\n")


def test_a_notice_belongs_to_the_option_that_is_at_work() -> None:
    report = KeptReport()
    with report.at("-qmp unix:s,server"):
        report.info("waiting")
    report.info("done")
    assert report.said == (
        "qemu-system-x86_64: -qmp unix:s,server: info: waiting\nqemu-system-x86_64: info: done\n"
    )


def test_every_option_has_a_word_in_the_help() -> None:
    assert set(TEXTS) == set(OPTIONS)


def test_help_lists_every_option_once() -> None:
    status, text, stderr = judge(["-help"])
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("-")]
    assert (status, stderr) == (0, "")
    assert sorted(listed) == sorted(f"-{name}" for name in OPTIONS)
    assert text.splitlines()[0] == "QEMU emulator version 10.0.2 (vmd 0.1.0)"
    assert text.splitlines()[2] == "usage: qemu-system-x86_64 [options]"


def test_version_is_two_lines() -> None:
    status, text, _ = judge(["-version"])
    assert status == 0
    assert len(text.splitlines()) == 2


@pytest.mark.parametrize("machine", [each.board.name for each in MACHINES])
def test_every_machine_that_help_lists_can_be_had_with_every_property_it_lists(
    machine: str,
) -> None:
    values = {"bool": "on", "OnOffAuto": "auto", "size": "1G", "string": "x"}
    assert any(line.split()[0] == machine for line in judge(["-M", "help"])[1].splitlines()[1:])
    for line in judge(["-M", f"{machine},help"])[1].splitlines()[1:]:
        name, kind = line.split()[0].rstrip(">").split("=<")
        config = read(["-machine", f"{machine},{name}={values[kind]}"])
        assert name in config.machine_properties


@pytest.mark.parametrize("kind", CHARDEV_KINDS)
def test_every_chardev_kind_that_help_lists_exists(kind: str) -> None:
    assert f"  {kind}\n" in judge([*NONE, "-chardev", "help"])[1]
    _, _, stderr = judge([*NONE, "-chardev", f"{kind},id=a"])
    assert "is not a valid char driver name" not in stderr


def test_every_object_that_help_lists_has_its_properties_listed() -> None:
    kinds = [line.strip() for line in judge([*NONE, "-object", "help"])[1].splitlines()[1:]]
    assert "memory-backend-file" in kinds
    for kind in kinds:
        assert judge([*NONE, "-object", f"{kind},help"])[1].startswith(f"{kind} options:\n")
    assert "  mem-path=" in judge([*NONE, "-object", "memory-backend-file,help"])[1]


@pytest.mark.parametrize("option", ["-accel", "-cpu", "-display", "-smp", "-vga", "-boot"])
def test_help_as_an_argument_prints_a_list_and_ends_well(option: str) -> None:
    status, text, stderr = judge([*NONE, option, "help"])
    assert (status, stderr) == (0, "")
    assert text.endswith("\n")


def test_reading_a_command_line_imports_nothing_heavy() -> None:
    script = (
        "import sys; from vmd.cli.parse import parse; "
        "parse(['vmd', '-machine', 'none', '-qmp', 'unix:/q,server=on,wait=off']); "
        "print(*(name for name in ('asyncio', 'json', 'argparse', 'dataclasses', 'inspect', "
        "'socket', 'logging', 'pathlib', 'tempfile', 'ctypes', 'msgspec', 'numpy') "
        "if name in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "\n"
