"""What options for parts of the machine do to the configuration: objects, devices, networks.

As in handlers.py; imported with the first such option. From system/vl.c and net/net.c.
"""

from __future__ import annotations

from qapi.error import QmpError
from vmd import option_lists as lists
from vmd.cli.config import DeviceRequest, NetRequest, ObjectRequest, Request
from vmd.cli.parsing import Parsing, parse_json
from vmd.cli.report import Quit
from vmd.options import HELP_WORDS, Options, parse_keyval


def object_(state: Parsing, where: str, arg: str) -> None:
    if arg.startswith("{"):
        properties = state.load_schema().check("ObjectOptions", parse_json(arg))
    else:
        options = state.options(lists.OBJECT, where, arg)
        _object_help(options)
        pairs = [("id", options.id)] if options.id is not None else []
        properties = state.load_schema().check_options("ObjectOptions", [*options.pairs, *pairs])
    assert isinstance(properties, dict)
    state.config.objects.append(ObjectRequest(where, properties))


def device(state: Parsing, where: str, arg: str) -> None:
    from vmd.devices.device_help import device_help
    from vmd.devices.values import Written

    if arg.startswith("{"):
        given = parse_json(arg)
        if not isinstance(given, dict):
            raise QmpError("JSON object expected")
        request = DeviceRequest(where, given, True)
    else:
        options = state.options(lists.DEVICE, where, arg)
        words: dict[str, object] = {name: Written(value) for name, value in options.pairs}
        words |= {} if options.id is None else {"id": options.id}
        request = DeviceRequest(where, words, False)
        text = device_help(words)
        if text is not None:
            raise Quit(0, text)
    state.config.devices.append(request)


def blockdev(state: Parsing, where: str, arg: str) -> None:
    properties = _from_schema(state, "BlockdevOptions", "driver", arg)
    state.config.blockdevs.append(ObjectRequest(where, properties))


def drive(state: Parsing, where: str, arg: str) -> None:
    state.config.drives.append(Request(where, state.options(lists.DRIVE, where, arg)))


def disk(state: Parsing, where: str, arg: str) -> None:
    """-hda to -hdd, and a word that is no option."""
    option = where.partition(" ")[0] if where.startswith("-") else "-hda"
    place = str("abcd".index(option[-1]))
    pairs = (("file", arg), ("media", "disk"), ("index", place))
    state.config.drives.append(Request(where, Options(None, pairs)))


def floppy(state: Parsing, where: str, arg: str) -> None:
    """-fda and -fdb."""
    pairs = (("file", arg), ("if", "floppy"), ("index", str("ab".index(where.split()[0][-1]))))
    state.config.drives.append(Request(where, Options(None, pairs)))


def cdrom(state: Parsing, where: str, arg: str) -> None:
    pairs = (("file", arg), ("media", "cdrom"), ("index", "2"))
    state.config.drives.append(Request(where, Options(None, pairs)))


def netdev(state: Parsing, where: str, arg: str) -> None:
    if arg.startswith("{"):
        properties = _from_schema(state, "Netdev", "type", arg)
    else:
        options = state.options(lists.NETDEV, where, arg)
        pairs = [("id", options.id)] if options.id is not None else []
        found = state.load_schema().check_options("Netdev", [*options.pairs, *pairs])
        assert isinstance(found, dict)
        properties = found
    state.config.netdevs.append(ObjectRequest(where, properties))
    state.config.has_network = True


def nic(state: Parsing, where: str, arg: str) -> None:
    _add_net(state, where, arg, is_pair=True)


def net(state: Parsing, where: str, arg: str) -> None:
    _add_net(state, where, arg, is_pair=False)


def _add_net(state: Parsing, where: str, arg: str, *, is_pair: bool) -> None:
    options = state.options(lists.NIC if is_pair else lists.NET, where, arg)
    state.config.nets.append(NetRequest(where, options, is_pair))
    state.config.has_network = True


def audiodev(state: Parsing, where: str, arg: str) -> None:
    from vmd.devices.audio import completed

    properties = _from_schema(state, "Audiodev", "driver", arg)
    state.config.audiodevs.append(completed(properties))


def _from_schema(state: Parsing, kind: str, implied: str, arg: str) -> dict[str, object]:
    if arg.startswith("{"):
        found = state.load_schema().check(kind, parse_json(arg))
    else:
        tree, wants_help = parse_keyval(arg, implied)
        if wants_help:
            raise QmpError("Help is not available for this option")
        found = state.load_schema().check_keyval(kind, dict(tree))
    assert isinstance(found, dict)
    return found


def add_fd(state: Parsing, where: str, arg: str) -> None:
    state.config.added_fds.append(Request(where, state.options(lists.ADD_FD, where, arg)))


def _object_help(options: Options) -> None:
    kind = options.get("qom-type")
    wanted = any(word in options for word in HELP_WORDS)
    if kind in HELP_WORDS or (wanted and kind is not None):
        from vmd.devices.object_help import object_help

        text = object_help(None if kind in HELP_WORDS else kind)
        if text is not None:
            raise Quit(0, text)


def vnc(state: Parsing, where: str, arg: str) -> None:
    options = state.options(lists.VNC, where, arg)
    state.config.displays.append(Request(where, options))


def audio(state: Parsing, where: str, arg: str) -> None:
    if arg in HELP_WORDS:
        raise Quit(0, "Available audio drivers:\nnone\n")
    tree, _ = parse_keyval(arg, "driver")
    if "driver" not in tree:
        raise QmpError("Parameter 'driver' is missing")
    if tree["driver"] != "none":
        raise QmpError(f"Parameter 'driver' does not accept value '{tree['driver']}'")
    for key in tree:
        if key not in ("driver", "id"):
            raise QmpError(f"Parameter '{key}' is unexpected")


def vga(state: Parsing, where: str, arg: str) -> None:
    if arg == "help":
        from vmd.cli.help import VGA_HELP

        raise Quit(0, VGA_HELP)
    state.config.vga = arg
