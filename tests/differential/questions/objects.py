"""The objects that a machine is made of: paths, properties, types, CPUs, and what users create."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.differential.scenes import NONE, PC, Q35, leave

if TYPE_CHECKING:
    from tests.differential.stage import Machine, Stage

BACKENDS = (
    "-object memory-backend-ram,id=m0,size=2M"
    " -object memory-backend-file,id=f0,size=2M,mem-path=f0,share=on"
    " -object memory-backend-memfd,id=d0,size=2M"
)
FILE_PROPERTIES = ("align", "discard-data", "mem-path", "offset", "pmem", "readonly", "rom")
BACKEND_PROPERTIES = (
    *("dump", "host-nodes", "merge", "policy", "prealloc", "prealloc-threads", "reserve"),
    *("share", "size", "x-use-canonical-path-for-ramblock-id", "type"),
)
MACHINE_PROPERTIES = (
    *("aux-ram-share", "boot", "dump-guest-core", "graphics", "mem-merge", "memory"),
    *("memory-backend", "smp", "suppress-vmdesc", "type", "usb"),
)
PC_PROPERTIES = (
    *("acpi", "default-bus-bypass-iommu", "fd-bootchk", "hmat", "hpet", "i8042", "max-fw-size"),
    *("max-ram-below-4g", "nvdimm", "pic", "pit", "sata", "smbus", "smm", "vmport", "x-oem-id"),
    "x-oem-table-id",
)
CPU_PROPERTIES = (
    *("apic-id", "avx", "cmp-legacy", "core-id", "die-id", "family", "hotplugged", "ht", "lbr_fmt"),
    *("level", "memory", "model", "model-id", "node-id", "phys-bits", "realized", "socket-id"),
    *("sse4_1", "thread-id", "type", "unavailable-features", "vendor", "zz", "migratable"),
)
# What both have of lists in which QEMU has more.
CHILDREN = ("backend", "machine", "objects", "chardevs", "peripheral", "peripheral-anon")
TYPES = (
    *("container", "generic-pc-machine", "iothread", "machine", "max-x86_64-cpu"),
    *("memory-backend", "memory-backend-file", "memory-backend-ram", "none-machine", "object"),
    *("pc-q35-10.0-machine", "qemu64-x86_64-cpu", "secret", "tcg-accel", "user-creatable"),
    *("x86_64-cpu", "chardev-memory", "memory-backend-memfd"),
)


def _get(machine: Machine, path: str, *names: str) -> None:
    for name in names:
        machine.qmp.execute("qom-get", {"path": path, "property": name})


def _set(machine: Machine, path: str, /, **values: Any) -> None:
    for name, value in values.items():
        arguments = {"path": path, "property": name.replace("_", "-"), "value": value}
        machine.qmp.execute("qom-set", arguments)


def _add(machine: Machine, kind: str, name: str, /, **values: Any) -> None:
    options = {key.replace("_", "-"): value for key, value in values.items()}
    machine.qmp.execute("object-add", {"qom-type": kind, "id": name, **options})


def _named(*names: str) -> Any:
    """A view of a list: the entries of these names, without descriptions, in order."""

    def view(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        kept = [{k: v for k, v in row.items() if k != "description"} for row in rows]
        return sorted((r for r in kept if r["name"] in names), key=lambda row: str(row["name"]))

    return view


def _by_name(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: str(row.get("name", row.get("id"))))


def paths(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {BACKENDS}")
    for path in ("/", "/machine", "machine", "//machine/"):
        machine.qmp.execute("qom-list", {"path": path}, view=_named(*CHILDREN))
    whole = ("/objects", "objects", "/objects/", "//objects", "peripheral", "/backend")
    for path in whole:
        machine.qmp.execute("qom-list", {"path": path}, view=_by_name)
    listed = _named(*BACKEND_PROPERTIES, *FILE_PROPERTIES)
    for path in ("f0", "/objects/f0", "/objects//f0", "objects/f0", "f0/"):
        machine.qmp.execute("qom-list", {"path": path}, view=listed)
    machine.qmp.execute("qom-list", {"path": "/machine/memory-backend"}, view=listed)
    for path in ("", "zz", "/zz", "/machine/type", "peripheral/x", "/objects/m0/type"):
        machine.qmp.execute("qom-list", {"path": path})
        _get(machine, path, "type")
        _set(machine, path, type="x")
    _get(machine, "/", "machine", "objects", "type", "zz")
    _get(machine, "/objects", "m0", "type")
    _get(machine, "/machine/memory-backend", "size")
    _set(machine, "/", machine="x", type="x", zz="x")
    leave(machine)


def properties_of_the_machine(stage: Stage) -> None:
    for arguments in (NONE, f"{Q35} -smp 2,maxcpus=4", f"{PC} -S"):
        machine = stage.start(f"{arguments} -S")
        _get(machine, "/machine", *MACHINE_PROPERTIES)
        if arguments is not NONE:
            _get(machine, "/machine", *PC_PROPERTIES)
            _set(machine, "/machine", pit="x", sata=1, hpet=False)
            _get(machine, "/machine", "hpet")
        _set(machine, "/machine", usb=1, graphics=False, type="x")
        _get(machine, "/machine", "graphics", "zz")
        leave(machine)


def properties_of_backends(stage: Stage) -> None:
    machine = stage.start(f"{NONE} {BACKENDS}")
    for path in ("m0", "f0", "d0"):
        _get(machine, path, *BACKEND_PROPERTIES)
        _set(machine, path, size=4096, share=True, reserve=False, type="x", zz=1)
        _set(machine, path, merge=False, dump=False, policy="zz", host_nodes=[300])
        _set(machine, path, merge="x", prealloc=True, prealloc_threads=0)
        _set(machine, path, prealloc_threads="a", host_nodes="a", share=1)
        _get(machine, path, *BACKEND_PROPERTIES)
    _get(machine, "f0", *FILE_PROPERTIES)
    _set(machine, "f0", align=4096, offset=4096, mem_path="x", rom="on", pmem=True)
    _set(machine, "f0", readonly=True, discard_data=True)
    _get(machine, "f0", "discard-data")
    _get(machine, "d0", "hugetlb", "hugetlbsize", "seal")
    _set(machine, "d0", hugetlbsize=5)
    leave(machine)


def types_of_objects(stage: Stage) -> None:
    machine = stage.start(NONE)
    view = _named(*TYPES)
    machine.qmp.execute("qom-list-types", view=view)
    machine.qmp.execute("qom-list-types", {"abstract": True}, view=view)
    for name in ("memory-backend", "machine", "user-creatable", "device", "object", "zz"):
        machine.qmp.execute("qom-list-types", {"implements": name}, view=view)
    for name in ("none-machine", "generic-pc-machine", "pc-q35-10.0-machine"):
        listed = _named(*MACHINE_PROPERTIES, *PC_PROPERTIES)
        machine.qmp.execute("qom-list-properties", {"typename": name}, view=listed)
    for name in ("memory-backend-file", "memory-backend-memfd", "memory-backend"):
        listed = _named(*BACKEND_PROPERTIES, *FILE_PROPERTIES)
        machine.qmp.execute("qom-list-properties", {"typename": name}, view=listed)
    for name in ("iothread", "container", "memory-region", "object"):
        machine.qmp.execute("qom-list-properties", {"typename": name}, view=_by_name)
    for name in ("max-x86_64-cpu", "qemu64-x86_64-cpu", "x86_64-cpu"):
        listed = _named(*CPU_PROPERTIES)
        machine.qmp.execute("qom-list-properties", {"typename": name}, view=listed)
        machine.qmp.execute("device-list-properties", {"typename": name}, view=listed)
    for name in ("zz", "user-creatable", "none-machine", "object", ""):
        machine.qmp.execute("qom-list-properties", {"typename": name}, view=_named())
        machine.qmp.execute("device-list-properties", {"typename": name})
    leave(machine)


def cpus_and_their_places(stage: Stage) -> None:
    smp = "-smp 4,maxcpus=8,sockets=2,dies=2,cores=2,threads=1"
    nodes = "-object memory-backend-ram,id=n0,size=8M -numa node,memdev=n0"
    numa = f"{Q35} -smp 4,sockets=2 {nodes} -numa node"
    some = f"{Q35} -smp 2 {nodes},cpus=1 -numa node,cpus=0"
    for arguments in (f"{Q35} {smp}", f"{PC} -smp 2,sockets=2", f"{PC} -cpu max", numa, some):
        machine = stage.start(f"{arguments} -S")
        machine.qmp.execute("query-cpus-fast", view=_without_threads)
        machine.qmp.execute("query-hotpluggable-cpus")
        _get(machine, "/machine/unattached/device[0]", *CPU_PROPERTIES)
        _set(machine, "/machine/unattached/device[0]", avx=True, sse4_1=True, hotplugged=True)
        leave(machine)
    machine = stage.start(NONE)
    machine.qmp.execute("query-hotpluggable-cpus")
    leave(machine)


def _without_threads(cpus: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in cpu.items() if k != "thread-id"} for cpu in cpus]


def _own_models(models: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(_named("max", "qemu64")(models), key=lambda model: str(model["name"]))


WATCHED = (
    *("avx", "sse4.1", "sse4-1", "sse4_1", "migratable", "level", "lm", "i64", "fsrc", "eraps"),
    *("kvm-mmu", "kvm_mmu", "xlevel", "min-xlevel", "level-func7", "tsc-frequency", "lbr-fmt"),
)


def _watched(expansion: dict[str, Any]) -> dict[str, Any]:
    model = expansion["model"]
    kept = {name: value for name, value in model["props"].items() if name in WATCHED}
    return {"name": model["name"], "props": kept}


def cpu_models(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -accel tcg")
    machine.qmp.execute("query-cpu-definitions", view=_own_models)

    def attempt(name: str, props: Any = None, view: Any = _watched) -> None:
        model = {"name": name} if props is None else {"name": name, "props": props}
        for kind in ("full", "static"):
            arguments = {"type": kind, "model": model}
            machine.qmp.execute("query-cpu-model-expansion", arguments, view=view or dict)

    for name in ("max", "qemu64", "zz", ""):
        attempt(name, view=None)
    props: Any
    for props in ({}, {"avx": True}, {"sse4_1": True}, {"migratable": False}, {"zz": 1}, [1]):
        attempt("qemu64", props)
        attempt("max", props)
    for props in (
        *({"avx": "on"}, {"level": -1}, {"level": "x"}, {"family": 999}, {"vendor": "x"}),
        *({"type": "x"}, {"core-id": 1 << 40}, {"i64": False, "fsrc": True, "eraps": True}),
        *({"kvm_mmu": True}, {"xlevel": 3, "eraps": True}, {"tsc-frequency": 123456}),
        *({"hv-vendor-id": 1}, {"realized": True}, {"lbr_fmt": 3}),
    ):
        attempt("qemu64", props)
    leave(machine)


def what_boards_lack(stage: Stage) -> None:
    for arguments in (NONE, Q35, PC):
        machine = stage.start(f"{arguments} -S")
        machine.qmp.execute("query-balloon")
        machine.qmp.execute("balloon", {"value": 1 << 24})
        machine.qmp.execute("query-memory-devices")
        machine.qmp.execute("query-vm-generation-id")
        machine.qmp.execute("inject-nmi")
        if arguments is not NONE:  # without a clock real QEMU aborts
            machine.qmp.execute("rtc-reset-reinjection")
        leave(machine)


def memory_as_a_cpu_sees_it(stage: Stage) -> None:
    for arguments in (NONE, Q35):
        machine = stage.start(f"{arguments} -S")

        def save(val: int, size: int, machine: Machine = machine) -> None:
            given = {"val": val, "size": size, "filename": "saved"}
            machine.qmp.execute("memsave", given)

        save(0, 16)
        save(0, 0)
        save((8 << 20) - 8, 16)
        save((8 << 20) - 2048, 4096)
        save(1 << 32, 16)
        machine.qmp.execute("memsave", {"val": 0, "size": 16, "filename": "saved", "cpu-index": 1})
        machine.qmp.execute("memsave", {"val": 0, "size": 16, "filename": "nowhere/saved"})
        leave(machine)


def io_threads(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -object iothread,id=first")
    _add(machine, "iothread", "first")
    _add(machine, "iothread", "second", poll_max_ns=5, poll_grow=3, thread_pool_min=80)
    _add(machine, "iothread", "second", poll_max_ns=5, poll_grow=3, poll_shrink=4)
    _add(machine, "iothread", "third", poll_max_ns=-1)
    _add(machine, "iothread", "third", thread_pool_max=0)
    machine.qmp.execute("query-iothreads", view=_told)
    machine.qmp.execute("qom-list", {"path": "first"}, view=_by_name)
    _set(machine, "first", poll_max_ns=7, poll_grow=-1, poll_shrink="x", thread_pool_min=70)
    _get(machine, "first", "poll-max-ns", "poll-grow", "thread-pool-min", "thread-pool-max")
    machine.qmp.execute("object-del", {"id": "first"})
    machine.qmp.execute("object-del", {"id": "first"})
    machine.qmp.execute("query-iothreads", view=_told)
    leave(machine)


def _told(threads: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return _by_name(_without_threads(threads))


def secrets_in_secrets(stage: Stage) -> None:
    wrapped, iv = "Cnkh9vKT9VJywjYoUO6M+A==", "AAECAwQFBgcICQoLDA0ODw=="
    key = "0123456789abcdef" * 2
    machine = stage.start(f"{NONE} -object secret,id=key,data={key} -object iothread,id=t")
    _add(machine, "secret", "short", data="abc")

    def attempt(name: str, data: str = wrapped, form: str = "base64", **more: str) -> None:
        _add(machine, "secret", name, data=data, format=form, **more)

    attempt("a", keyid="key", iv=iv)
    attempt("b", keyid="zz", iv=iv)
    attempt("b", keyid="t", iv=iv)
    attempt("b", keyid="short", iv=iv)
    attempt("b", keyid="key")
    attempt("b", keyid="key", iv="AAAA")
    attempt("b", keyid="key", iv="###")
    attempt("b", "AAAA", keyid="key", iv=iv)
    attempt("b", "*", keyid="key", iv=iv)
    attempt("b", "AAAAAAAAAAAAAAAAAAAAAA==", keyid="key", iv=iv)
    attempt("b", "0123456789abcdef", "raw", keyid="key", iv=iv)
    attempt("c", "", "raw", keyid="key", iv=iv)
    attempt("d", "x", "raw", iv="any")
    for path in ("a", "d", "key"):
        _get(machine, path, "data", "format", "keyid", "iv")
    _set(machine, "a", keyid="other", iv="other")
    _get(machine, "a", "keyid", "iv")
    machine.qmp.execute("object-del", {"id": "key"})
    leave(machine)
    stage.refused(f"{NONE} -object secret,id=s,data=x,keyid=zz")


def secrets(stage: Stage) -> None:
    stage.file("password").write_text("letmein")
    stage.file("encoded").write_text("bGV0bWVpbg==\n")
    machine = stage.start(f"{NONE} -object secret,id=given,data=abc")
    _add(machine, "secret", "a")
    _add(machine, "secret", "a", data="abc", file="password")
    _add(machine, "secret", "a", file="nowhere")
    _add(machine, "secret", "a", file=".")
    _add(machine, "secret", "a", data="a*b", format="base64")
    _add(machine, "secret", "a", data="a b", format="zz")
    _add(machine, "secret", "a", file="password")
    _add(machine, "secret", "b", file="encoded", format="base64")
    _add(machine, "secret", "c", data="", format="base64")
    _add(machine, "secret", "given", data="x")
    for name in ("9a", "", "a/b", "type"):
        _add(machine, "secret", name, data="x")
        _add(machine, "memory-backend-ram", name, size=4096)
    _add(machine, "memory-backend-ram", "m", size=4096, prealloc_context="zz")
    for path in ("given", "a", "b", "c"):
        _get(machine, path, "data", "file", "format", "type")
    _set(machine, "given", data="other", file=1, format="zz")
    _get(machine, "given", "data")
    for name in ("a", "a", "given"):
        machine.qmp.execute("object-del", {"id": name})
    leave(machine)
    stage.refused(f"{NONE} -object secret,id=s")
    stage.refused(f"{NONE} -object secret,id=s,file=nowhere")
    stage.refused(f"{NONE} -object iothread,id=t,poll-max-ns=-1")


def the_main_loop(stage: Stage) -> None:
    machine = stage.start(f"{NONE} -object main-loop,id=ml,thread-pool-min=2")

    def make(**options: Any) -> None:
        machine.qmp.execute("object-add", {"qom-type": "main-loop", "id": "m2", **options})

    def change(name: str, value: Any) -> None:
        asked = {"path": "/objects/ml", "property": name}
        machine.qmp.execute("qom-set", {**asked, "value": value})
        machine.qmp.execute("qom-get", asked)

    make(id="ml")
    make()
    make(**{"aio-max-batch": -1})
    make(**{"poll-max-ns": 1})
    change("thread-pool-min", 99)
    change("thread-pool-max", -1)
    change("aio-max-batch", 7)
    change("thread-pool-min", 1)
    change("aio-max-batch", 8)
    change("aio-max-batch", "x")
    machine.qmp.execute("object-del", {"id": "ml"})
    machine.qmp.execute("query-iothreads")
    leave(machine)
