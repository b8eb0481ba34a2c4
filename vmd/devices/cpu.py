"""The CPU models: their properties as data, and what becomes of a model with some of them set.

A simulated CPU executes nothing; its properties are what a management layer is told of a CPU, as
QEMU's TCG would, or its KVM where a `host` is given. `cpu_models.json` was recorded by
tests/vmd/record_cpus.py:

- types: type of a property → names; defaults: name → value as `qom-list-properties` tells it
- concrete: only in the types of models; max: only in max; device: not in device-list-properties
- full: not in a static expansion; aliases: name → the property that it is another name for
- inert: without effect, for lack of another property or of KVM; raises: name → numbers that go up
- models: model → what a full expansion says, where it is not false; realized: what a CPU in a
  machine says instead
- names: all models; those that are not among `models` are in `cpu_named.json`: the features that
  are on (and those of the base model that are off), other values, and which name is another's
- lacking (there): the features that TCG has not, in the order of its complaints, and where in the
  CPU each stands; notes: what lists of models add to the name that a CPU bears; flags: all
  features that are bits of a processor
"""

from __future__ import annotations

from functools import cache as once
from functools import lru_cache as remembered
from typing import TYPE_CHECKING, Any, NamedTuple

from qapi.error import QmpError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vmd.devices.host_cpu import HostCpu
    from vmd.devices.topology import Topology

SUFFIX = "-x86_64-cpu"
ABSTRACT = "x86_64-cpu"
DEFAULT_MODEL = "qemu64"
STATIC_BASE = "base"

_OF_THE_HOST = ("host", "max")
_LARGEST = tuple(name + SUFFIX for name in _OF_THE_HOST)
_AMD = "AuthenticAMD"
_SVM_LEVEL = 0x8000_000A
_UCODE = (0x1_0000_0000, 0x0100_0065)
READ_ONLY = ("hotpluggable", "hotplugged", "parent_bus", "type", "unavailable-features")
_UNSIGNED = {"uint8": 8, "uint16": 16, "uint32": 32, "uint64": 64}
_AT_MOST = {"family": 270, "model": 255, "stepping": 15, "tsc-frequency": (1 << 63) - 1}
_VENDOR_LENGTH = 12


class PropertyInfo(NamedTuple):
    """A property as lists of properties tell it; `default` is None if none is told."""

    name: str
    type: str
    default: Any = None


def names() -> list[str]:
    """The names of all models."""
    found: list[str] = _data()["names"]
    return found


def definitions(host: HostCpu | None = None) -> list[dict[str, object]]:
    """The models, as query-cpu-definitions lists them."""
    return [_definition(name, host) for name in reversed(names())]


def _definition(name: str, host: HostCpu | None) -> dict[str, object]:
    lacking = ["kvm"]
    if name != "host" or host is not None:
        lacking = what_is_lacking(name, (), host)
    told: dict[str, object] = {
        "name": name,
        "typename": name + SUFFIX,
        "unavailable-features": lacking,
        "static": name == STATIC_BASE,
        "migration-safe": name not in _OF_THE_HOST,
        "deprecated": False,
    }
    if name in named()["alias-of"]:
        told["alias-of"] = named()["alias-of"][name]
    return told


def model_values(name: str, host: HostCpu | None = None) -> dict[str, Any]:
    """What a full expansion says of a model, where it is not false; other names are left out."""
    models = _data()["models"]
    if host is not None and name != STATIC_BASE:
        from vmd.devices import host_cpu

        if name in _OF_THE_HOST:
            return {**models[STATIC_BASE], **host_cpu.largest(host)}
        real = named()["alias-of"].get(name, name)
        return host_cpu.as_under_kvm(real, model_values(name), host)
    if name == "host":
        name = "max"
    if name in models:
        found: dict[str, Any] = models[name]
        return found
    row = named()["models"][named()["alias-of"].get(name, name)]
    values: dict[str, Any] = dict(models[STATIC_BASE])
    for feature in row["off"].split():
        values.pop(feature, None)
    values |= dict.fromkeys(row["on"].split(), True)
    values |= row["values"]
    return values


@once
def properties(type_name: str, *, device: bool = False) -> list[PropertyInfo]:
    """The properties of a CPU type; with `device` only those that device-list-properties tells."""
    data = _data()
    hidden: set[str] = set(data["device"]) if device else set()
    if type_name == ABSTRACT:
        hidden.update(data["concrete"])
    if type_name not in _LARGEST:
        hidden.update(data["max"])
    defaults = data["defaults"]
    return [
        PropertyInfo(name, kind, defaults.get(name))
        for kind, names in data["types"].items()
        for name in names
        if name not in hidden
    ]


def expand(kind: str, name: str, given: object, host: HostCpu | None = None) -> dict[str, object]:
    """The model with some properties set, as query-cpu-model-expansion tells it.

    `kind` is "full" (all properties) or "static" (what makes the model out of the base model).
    Observed from target/i386/cpu.c.
    """
    if name not in names():
        raise QmpError(f"CPU model '{name}' not found")
    if not isinstance(given, dict):
        raise QmpError("Invalid parameter type for 'model.props', expected: object")
    data = _data()
    values = dict.fromkeys(_expanded(name + SUFFIX), False) | model_values(name, host)
    _follow(values)
    for key in given:
        if key not in values and key not in READ_ONLY:
            raise QmpError(f"Property '{name}{SUFFIX}.{key}' not found")
    for key, value in given.items():
        _set(name, values, key, value, host)
    _raise_numbers(values, given)
    _settle_for(host, name, values)
    _follow(values)
    if kind == "static":
        values = {key: value for key, value in values.items() if key not in data["full"]}
        name = STATIC_BASE
        for key in data["max"]:
            values.pop(key, None)
    return {"model": {"name": name, "props": values}}


def _raise_numbers(values: dict[str, Any], given: Iterable[str]) -> None:
    """Some features ask for more leaves than the model has."""
    raises = _data()["raises"]
    for key in given:
        for number, least in raises.get(key, {}).items():
            if values[key] is True and number not in given:
                values[number] = max(values[number], least)
    if values.get("svm") is True and "xlevel" not in given and "min-xlevel" not in given:
        for number in ("xlevel", "min-xlevel"):
            values[number] = max(values[number], _SVM_LEVEL)


def _expanded(type_name: str) -> list[str]:
    """Names of the properties that an expansion tells."""
    return [info.name for info in properties(type_name) if info.name not in READ_ONLY]


def _settle_for(host: HostCpu | None, model: str, values: dict[str, Any]) -> None:
    """What a host has to say of a CPU that somebody asks for."""
    if host is None:
        return
    from vmd.devices import host_cpu

    if model in _OF_THE_HOST and values["migratable"] is False:
        values |= dict.fromkeys(host.supported.intersection(host_cpu.UNMIGRATABLE), True)
    host_cpu.drop_what_lacks_its_need(values)


def _set(
    model: str, values: dict[str, Any], name: str, value: object, host: HostCpu | None
) -> None:
    data = _data()
    if name in READ_ONLY:
        raise QmpError(f"Property '{model}{SUFFIX}.{name}' is not writable")
    value = fit(f"model.props.{name}", name, _types()[name], value)
    if is_inert(name, host):
        return
    if name == "realized" and value:
        raise QmpError("apic-id property was not initialized properly")
    values[data["aliases"].get(name, name)] = value


def _follow(values: dict[str, Any]) -> None:
    """Give every property with several names its one value."""
    for name, original in _data()["aliases"].items():
        values[name] = values[original]


def fit(path: str, name: str, kind: str, value: object) -> object:
    """The value if it is one of this type; the texts are those of QEMU's visitors."""
    if kind == "bool":
        if not isinstance(value, bool):
            raise QmpError(f"Invalid parameter type for '{path}', expected: boolean")
        return value
    if kind in ("string", "str", "OnOffAuto") or kind.startswith("link<"):
        return _fit_text(path, name, kind, value)
    integer = isinstance(value, int) and not isinstance(value, bool)
    unsigned = kind in _UNSIGNED or name in ("family", "model", "stepping")
    low, high = -(1 << 63), 1 << (64 if unsigned else 63)
    if not integer or not low <= _int(value) < high:
        if unsigned:
            raise QmpError(f"Parameter '{path}' expects uint64")
        raise QmpError(f"Invalid parameter type for '{path}', expected: integer")
    number = _int(value)
    if name in _AT_MOST and not 0 <= number <= _AT_MOST[name]:
        raise QmpError(f"parameter '{name}' can be at most {_AT_MOST[name]}")
    if name in ("lbr-fmt", "lbr_fmt") and not 0 <= number <= 0x3F:
        raise QmpError("Property value for 'lbr-fmt' has bits outside mask '0x3f'")
    if kind in _UNSIGNED:
        if not 0 <= number % (1 << 64) < 1 << _UNSIGNED[kind]:
            raise QmpError(f"Parameter '{name}' expects {kind}_t")
    elif kind == "int32" and not -(1 << 31) <= number < 1 << 31:
        raise QmpError(f"Parameter '{name}' expects int32_t")
    return number // 1000 * 1000 if name == "tsc-frequency" else number


def _int(value: object) -> int:
    assert isinstance(value, int)
    return value


def _fit_text(path: str, name: str, kind: str, value: object) -> object:
    if not isinstance(value, str):
        raise QmpError(f"Invalid parameter type for '{path}', expected: string")
    if kind == "OnOffAuto" and value not in ("auto", "on", "off"):
        raise QmpError(f"Parameter '{path}' does not accept value '{value}'")
    if name == "vendor" and len(value.encode()) != _VENDOR_LENGTH:
        raise QmpError("value of property 'vendor' must consist of exactly 12 characters")
    return value


@remembered(maxsize=16)
def instance(
    model: str,
    topology: Topology,
    index: int,
    node: int | None,
    features: tuple[tuple[str, Any], ...] = (),
    host: HostCpu | None = None,
) -> dict[str, Any]:
    """The values of all properties of a CPU in a machine, except its type."""
    values = dict(_realized(model, features) if host is None else _on_host(model, features, host))
    values |= topology.place(index)
    values["apic-id"] = topology.apic_id(index)
    values["node-id"] = -1 if node is None else node
    if topology.threads_per_socket > 1:
        values["ht"] = values["cmp-legacy"] = True
    _follow(values)
    return values


@remembered(maxsize=2)
def _realized(model: str, features: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """What all CPUs of a machine have in common: the model, as far as TCG can be one."""
    data = _data()
    all_names = (info.name for info in properties(model + SUFFIX))
    values: dict[str, Any] = dict.fromkeys(all_names, False)
    values |= model_values(model)
    given = dict(features)
    for name, value in given.items():
        if name not in data["inert"]:
            values[name] = value
    _raise_numbers(values, given)
    realized = data["realized"].get(model, {})
    values |= {name: value for name, value in realized.items() if name not in given}
    values |= data["realized"][STATIC_BASE] if not realized else {}
    values["unavailable-features"] = lacking = what_is_lacking(model, features)
    values |= dict.fromkeys(lacking, False)
    if not realized or given:
        values["ucode-rev"] = given.get("ucode-rev", _UCODE[values["vendor"] == _AMD])
        values["phys-bits"] = given.get("phys-bits") or _address_bits(values)
        values["hv-vendor-id"] = given.get("hv-vendor-id", values["hv-vendor-id"])
    return values


def _on_host(model: str, features: tuple[tuple[str, Any], ...], host: HostCpu) -> dict[str, Any]:
    """What all CPUs of a machine with KVM have in common."""
    from vmd.devices import host_cpu

    names_of_all = (info.name for info in properties(model + SUFFIX))
    values: dict[str, Any] = dict.fromkeys(names_of_all, False) | model_values(model, host)
    given = dict(features)
    values |= {name: value for name, value in given.items() if not is_inert(name, host)}
    _raise_numbers(values, given)
    _settle_for(host, model, values)
    realized = _data()["realized"][STATIC_BASE]
    values |= {name: value for name, value in realized.items() if name not in given}
    values["unavailable-features"] = lacking = what_is_lacking(model, features, host)
    values |= dict.fromkeys(lacking, False)
    host_cpu.drop_what_lacks_its_need(values)
    bits = given.get("phys-bits") or _address_bits(values)
    values["phys-bits"] = host.phys_bits if values.get("host-phys-bits") else bits
    values["ucode-rev"] = given.get("ucode-rev", host.ucode_rev)
    values["tsc-frequency"] = given.get("tsc-frequency") or host.tsc_hz
    return values


def _address_bits(values: dict[str, Any]) -> int:
    """How wide TCG's physical addresses are."""
    wide = values["pse36"] or values["pae"]
    return 40 if values["lm"] else 36 if wide else 32


def what_is_lacking(
    model: str, features: tuple[tuple[str, Any], ...], host: HostCpu | None = None
) -> list[str]:
    """The features that are asked of a CPU and that TCG, or the host, has not, in the order of its
    complaints."""
    if host is not None:
        from vmd.devices import host_cpu

        asked = model_values(model, host) | dict(features)
        host_cpu.drop_what_lacks_its_need(asked)
        on_there = (name for name, on in asked.items() if on is True)
        return host_cpu.in_order(set(on_there) - host.supported)
    there, given = _data()["models"]["max"], dict(features)
    if model in _data()["models"] and all(there.get(n) for n, on in features if on is True):
        return []
    on = model_values(model) | given
    return [name for name in named()["lacking"] if on.get(name) is True]


def original(name: str) -> str:
    """The property that this is another name for; without one, the name itself."""
    return str(_data()["aliases"].get(name, name))


def aliases() -> dict[str, str]:
    """The properties that are other names, and whose."""
    found: dict[str, str] = _data()["aliases"]
    return found


@once
def _types() -> dict[str, str]:
    return {name: kind for kind, names in _data()["types"].items() for name in names}


def is_inert(name: str, host: HostCpu | None = None) -> bool:
    """Whether a property changes nothing, for lack of another one or of KVM."""
    return name in _data()["inert"] and (host is None or not name.startswith("kvm"))


@once
def named() -> dict[str, Any]:
    """What is known of the models beside those that most machines have."""
    return _load("cpu_named.json")


@once
def _data() -> dict[str, Any]:
    return _load("cpu_models.json")


def _load(name: str) -> dict[str, Any]:
    import json
    from os.path import dirname, join

    with open(join(dirname(__file__), name), encoding="ascii") as stream:
        data: dict[str, Any] = json.load(stream)
    return data


@once
def kinds(type_name: str) -> dict[str, str]:
    """The types of the properties of a CPU type."""
    return {info.name: info.type for info in properties(type_name)}
