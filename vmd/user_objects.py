"""Objects that users make and delete (object-add, object-del, -object).

Observed from qom/object_interfaces.c and qom/object.c.
"""

from __future__ import annotations

from qapi.error import DEVICE_NOT_FOUND, QmpError
from vmd.options import check_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from vmd.devices.objects import UserObject
    from vmd.machine import Machine
    from vmd.memory import RamBlock
    from vmd.memory.backends import MemoryBackend

    class ObjectOwner(Protocol):
        """Who has objects of a user: a machine, or one in the making."""

        backends: dict[str, MemoryBackend]
        objects: dict[str, UserObject]
        all_blocks: list[RamBlock]
        debug_threads: bool

        def throttled(self) -> set[str]:
            """The names of the throttle groups that drives are in."""


class NoMachine:
    """An owner of objects that are made before their machine."""

    def __init__(self, debug_threads: bool) -> None:
        self.debug_threads = debug_threads
        self.backends: dict[str, MemoryBackend] = {}
        self.objects: dict[str, UserObject] = {}
        self.all_blocks: list[RamBlock] = []

    def throttled(self) -> set[str]:
        return set()


def is_memory(options: dict[str, object]) -> bool:
    return str(options["qom-type"]).startswith("memory-backend-")


def add_object(owner: ObjectOwner, options: dict[str, object]) -> None:
    """Create a user's object from checked ObjectOptions, for a machine or one in the making."""
    name = str(options["id"])
    check_id(name)
    context = options.get("prealloc-context")
    if context:  # there are no thread contexts
        raise QmpError(f"Device '{context}' not found", DEVICE_NOT_FOUND)
    memory = is_memory(options)
    if memory:
        from vmd.memory.backends import create, judge

        judge(options)
    elif options["qom-type"] in ("iothread", "main-loop"):
        from vmd.devices.objects import IOTHREAD_DEFAULTS, judge_event_loop

        judge_event_loop(IOTHREAD_DEFAULTS, options)
    # `type` is a property that every container has.
    if name in owner.backends or name in owner.objects or name == "type":
        raise QmpError(f"attempt to add duplicate property '{name}' to object (type 'container')")
    if options["qom-type"] == "throttle-group" and name in owner.throttled():
        raise QmpError("A group with this name already exists")
    if memory:
        owner.backends[name] = backend = create(options)
        owner.all_blocks.append(backend.block)
    else:
        from vmd.devices.objects import create_object

        owner.objects[name] = create_object(
            options, owner.objects, named_threads=owner.debug_threads
        )


def delete_object(machine: Machine, name: str) -> None:
    """Delete a user's object that nothing uses."""
    other = machine.objects.get(name)
    if other is not None:
        in_use = other.qom_type == "throttle-group" and name in machine.throttled()
        if in_use or other.qom_type == "main-loop":
            raise QmpError(f"object '{name}' is in use, can not be deleted")
        del machine.objects[name]
        machine.devices.forget_object(f"/objects/{name}")
        other.close()
        return
    backend = machine.backends.get(name)
    if backend is None:
        raise QmpError(f"object '{name}' not found")
    if backend.block in machine.ram_blocks:
        raise QmpError(f"object '{name}' is in use, can not be deleted")
    del machine.backends[name]
    machine.all_blocks.remove(backend.block)
    backend.close()
