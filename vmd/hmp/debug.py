"""Looking into memory, CPUs and ports at the human monitor.

The CPUs do without paging, so that a virtual address is a physical one. Observed from
monitor/hmp-cmds-target.c, monitor/hmp-cmds.c and target/i386/monitor.c of QEMU 10.0.2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from monitor.hmp import HmpCommand
from qapi.error import QmpError
from vmd.qmp import machine as commands

if TYPE_CHECKING:
    from monitor.hmp import Hmp
    from monitor.hmp_args import Format
    from vmd.machine import Machine
    from vmd.memory import RamBlock

ALL_BITS = 64
LAST_PORT = 0xFFFF
SLICE = 1 << 16
MOST_SHOWN = 4 << 20
A_TURN = 16 << 10
PAGE = 4096
ROMS, ROMS_END = 0xC0000, 0x100000
PAGEMAP_ENTRY, PAGE_PRESENT, FRAME_BITS = 8, 1 << 63, 54


def _cpus(machine: Machine) -> int:
    from vmd.devices import registers

    return registers.count(machine)


def cpu(machine: Machine, hmp: Hmp, index: int) -> None:
    if not 0 <= index < _cpus(machine):
        hmp.print("invalid CPU index\n")
        return
    hmp.cpu_index = index


# Memory


async def x(machine: Machine, hmp: Hmp, fmt: Format, addr: int) -> None:
    """Dump what the CPU sees."""
    await _dump(machine, hmp, fmt, addr, physical=False)


async def xp(machine: Machine, hmp: Hmp, fmt: Format, addr: int) -> None:
    await _dump(machine, hmp, fmt, addr, physical=True)


async def _dump(machine: Machine, hmp: Hmp, fmt: Format, address: int, *, physical: bool) -> None:
    """Many rows take several turns of the event loop; QEMU knows no limit."""
    if not _cpus(machine) and (fmt.notation == "i" or not physical):
        hmp.print("Can not dump without CPU\n")
        return
    address %= 1 << ALL_BITS
    if fmt.notation == "i":
        hmp.print(f"0x{address:08x}: Asm output not supported on this arch\n")
        return
    size, left = fmt.size, fmt.size * fmt.number
    if left > MOST_SHOWN:
        raise QmpError(f"no more than {MOST_SHOWN} bytes are shown at once")
    width = 8 if size == 1 else 16
    if fmt.notation == "c":
        size = 1
    while left > 0:
        taken = min(left, width)
        hmp.print(f"{address:016x}:")
        data = _read(machine, address if physical else _physical(address), taken)
        if data is None:
            hmp.print(" Cannot access memory\n")
            return
        for start in range(0, taken, size):
            number = int.from_bytes(data[start : start + size], "little")
            hmp.print(f" {_item(number, fmt.notation, size)}")
        hmp.print("\n")
        address = (address + taken) % (1 << ALL_BITS)
        left -= taken
        if left and left % A_TURN == 0:
            await machine.clock.sleep(0)


def _physical(address: int) -> int:
    """Where a virtual address leads without paging."""
    from vmd.devices.registers import PHYSICAL_BITS

    return address % (1 << PHYSICAL_BITS)


def _read(machine: Machine, address: int, length: int) -> bytes | None:
    """Bytes of RAM or of a ROM; None where there is neither (no device answers to an address)."""
    if not _below_rom(machine, address) and machine.memory.covers(address, length):
        return machine.memory.read(address, length)
    found = _rom(machine, address)
    if found is None:
        return None
    block, offset = found
    return block.read(offset, length) if offset + length <= block.size else None


def _below_rom(machine: Machine, address: int) -> bool:
    """Whether a PC's firmware hides the RAM that is at an address."""
    return machine.board.has_cpus and ROMS <= address < ROMS_END


def _rom(machine: Machine, address: int) -> tuple[RamBlock, int] | None:
    """The firmware's block at a guest address, and the offset in it."""
    from vmd.devices import flatview

    piece = flatview.find(machine, address)
    if piece is None or piece.kind != "rom":
        return None
    for block in machine.all_blocks:
        if block.idstr == piece.name:
            return block, piece.offset + address - piece.first
    return None


def _item(number: int, notation: str, size: int) -> str:
    bits = 8 * size
    if notation == "c":
        return _character(number)
    if notation == "x":
        return f"0x{number:0{bits // 4}x}"
    if notation == "o":
        return f"{_octal(number):>{(bits + 2) // 3}}"
    if notation == "d" and number >> (bits - 1):
        number -= 1 << bits
    return f"{number:>{(bits * 10 + 32) // 33}}"


def _octal(number: int) -> str:
    return f"0{number:o}" if number else "0"


def _character(number: int) -> str:
    """A character as C writes it."""
    special = {ord("'"): "\\'", ord("\\"): "\\\\", ord("\n"): "\\n", ord("\r"): "\\r"}
    if number in special:
        return f"'{special[number]}'"
    return f"'{chr(number)}'" if 32 <= number <= 126 else f"'\\x{number:02x}'"


def print_(machine: Machine, hmp: Hmp, fmt: Format, val: int) -> None:
    unsigned = val % (1 << ALL_BITS)
    if fmt.notation == "o":
        text = _octal(unsigned)
    elif fmt.notation == "x":
        text = f"{unsigned:#x}" if unsigned else "0"
    elif fmt.notation == "u":
        text = str(unsigned)
    elif fmt.notation == "c":
        text = _character(unsigned % (1 << 32))
    else:
        text = str(val)
    hmp.print(f"{text}\n")


async def sum_(machine: Machine, hmp: Hmp, start: int, size: int) -> None:
    """A BSD checksum; other commands wait, but nothing else in the process does."""
    from vmd.worker import in_a_thread

    total = await in_a_thread(lambda: _checksum(machine, start % (1 << 32), size % (1 << 32)))
    hmp.print(f"{total:05d}\n")


def _checksum(machine: Machine, start: int, size: int) -> int:
    total = 0
    for address in range(start, start + size, SLICE):
        data = machine.memory.read(address, min(SLICE, start + size - address))
        if data == bytes(len(data)):  # most of RAM: only the rotation of 16 bits is left
            turns = len(data) % 16
            total = (total >> turns | total << (16 - turns)) & 0xFFFF
            continue
        for byte in data:
            total = ((total >> 1 | total << 15) + byte) & 0xFFFF
    return total


def gpa2hva(machine: Machine, hmp: Hmp, addr: int) -> None:
    found = _host_address(machine, hmp, addr)
    if found is not None:
        name, where = found
        address = addr % (1 << ALL_BITS)
        hmp.print(f"Host virtual address for 0x{address:x} ({name}) is 0x{where:x}\n")


def gpa2hpa(machine: Machine, hmp: Hmp, addr: int) -> None:
    found = _host_address(machine, hmp, addr)
    if found is not None:
        name, where = found
        frame = _frame(where)
        address = addr % (1 << ALL_BITS)
        hmp.print(f"Host physical address for 0x{address:x} ({name}) is 0x{frame:x}\n")


def _host_address(machine: Machine, hmp: Hmp, addr: int) -> tuple[str, int] | None:
    """The RAM block at a guest address, and where the process has it; None after saying why."""
    address = addr % (1 << ALL_BITS)
    found = None if _below_rom(machine, address) else machine.memory.find(address)
    found = found or _rom(machine, address)
    if found is None:
        from vmd.devices import flatview

        if flatview.find(machine, address) is None:
            hmp.print(f"No memory is mapped at address 0x{address:x}\n")
        else:
            hmp.print(f"Memory at address 0x{address:x} is not RAM\n")
        return None
    block, offset = found
    return block.idstr, block.address() + offset


def _frame(address: int) -> int:
    """Where the host's kernel has an address of this process; QmpError if it has not, or is mum."""
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as pages:
            pages.seek(address // PAGE * PAGEMAP_ENTRY)
            entry = int.from_bytes(pages.read(PAGEMAP_ENTRY), "little")
    except OSError:
        raise QmpError("Cannot open /proc/self/pagemap") from None
    if not entry & PAGE_PRESENT:
        raise QmpError("Page not present")
    return (entry % (1 << FRAME_BITS)) * PAGE + address % PAGE


def gva2gpa(machine: Machine, hmp: Hmp, addr: int) -> None:
    if not _cpus(machine):
        hmp.print("No cpu\n")
        return
    address = _physical(addr)
    hmp.print(f"gpa: {hex(address) if address else 0}\n")


async def memsave(machine: Machine, hmp: Hmp, val: int, size: int, filename: str) -> None:
    if not _cpus(machine):
        hmp.print("No CPU available\n")
        return
    await commands.memsave(machine, val, size, filename, hmp.cpu_index)


async def pmemsave(machine: Machine, hmp: Hmp, val: int, size: int, filename: str) -> None:
    await commands.pmemsave(machine, val, size, filename)


# Ports

_SUFFIX = {2: "w", 4: "l"}


def i(machine: Machine, hmp: Hmp, fmt: Format, addr: int, index: int | None = None) -> None:
    """A byte is read for an odd size."""
    from vmd.devices import ioports

    port = addr % (LAST_PORT + 1)
    if index is not None:
        ioports.write(machine, port, 1, index & 0xFF)
        port = (port + 1) % (LAST_PORT + 1)
    size = fmt.size if fmt.size in _SUFFIX else 1
    value = ioports.read(machine, port, size)
    # The number of digits is that of the size asked for.
    digits = fmt.size * 2 if fmt.size > 0 else 2
    suffix = _SUFFIX.get(size, "b")
    hmp.print(f"port{suffix}[0x{port:04x}] = 0x{value:0{digits}x}\n")


def o(machine: Machine, hmp: Hmp, fmt: Format, addr: int, val: int) -> None:
    from vmd.devices import ioports

    size = fmt.size if fmt.size in _SUFFIX else 1
    ioports.write(machine, addr % (LAST_PORT + 1), size, val % (1 << 8 * size))


# CPUs


def info_registers(
    machine: Machine, hmp: Hmp, cpustate_all: bool = False, vcpu: int | None = None
) -> None:
    from vmd.devices import registers

    there = registers.count(machine)
    if cpustate_all:
        wanted = list(range(there))
    elif vcpu is not None:
        if not 0 <= vcpu < there:
            hmp.print(f"CPU#{vcpu} not available\n")
            return
        wanted = [vcpu]
    elif there:
        wanted = [hmp.cpu_index or 0]
    else:
        hmp.print("No CPU available\n")
        return
    for index in wanted:
        hmp.print("\n" + registers.text(registers.of(machine, index)))


def info_lapic(machine: Machine, hmp: Hmp, apic_id: int | None = None) -> None:
    from vmd.devices import registers

    index = (hmp.cpu_index or 0) if apic_id is None else _cpu_of(machine, apic_id)
    if index is None or index >= registers.count(machine):
        hmp.print("No CPU available\n")
        return
    hmp.print(registers.lapic_text(machine, index))


def _cpu_of(machine: Machine, apic_id: int) -> int | None:
    from vmd.devices import registers

    for index in range(registers.count(machine)):
        if registers.properties(machine, index)["apic-id"] == apic_id:
            return index
    return None


def info_paging(machine: Machine, hmp: Hmp) -> None:
    """`info mem` and `info tlb`."""
    hmp.print("PG disabled\n" if _cpus(machine) else "No CPU available\n")


COMMANDS = [
    HmpCommand("cpu", "index:i", "index", "make a CPU the one that is meant without saying", cpu),
    HmpCommand("x", "fmt:/,addr:l", "/fmt addr", "show memory as the CPU sees it", x),
    HmpCommand("xp", "fmt:/,addr:l", "/fmt addr", "show physical memory", xp),
    HmpCommand(
        "print|p", "fmt:/,val:l", "/fmt expr", "show a value ($name is a register's)", print_
    ),
    HmpCommand("sum", "start:i,size:i", "addr size", "compute a checksum of memory", sum_),
    HmpCommand("gpa2hva", "addr:l", "addr", "show where the host has a physical address", gpa2hva),
    HmpCommand(
        "gpa2hpa",
        "addr:l",
        "addr",
        "show which of the host's memory a physical address is",
        gpa2hpa,
    ),
    HmpCommand("gva2gpa", "addr:l", "addr", "show where a virtual address leads", gva2gpa),
    HmpCommand(
        "memsave", "val:l,size:i,filename:s", "addr size file", "save what a CPU sees", memsave
    ),
    HmpCommand(
        "pmemsave", "val:l,size:i,filename:s", "addr size file", "save physical memory", pmemsave
    ),
    HmpCommand("i", "fmt:/,addr:i,index:i.", "/fmt addr", "read an I/O port", i),
    HmpCommand("o", "fmt:/,addr:i,val:i", "/fmt addr value", "write to an I/O port", o),
]

INFO = [
    HmpCommand(
        "registers",
        "cpustate_all:-a,vcpu:i?",
        "[-a|vcpu]",
        "show the registers of a CPU (-a: of all CPUs; without a number: of the one chosen)",
        info_registers,
    ),
    HmpCommand("lapic", "apic-id:i?", "[apic-id]", "show the local APIC of a CPU", info_lapic),
    HmpCommand("mem", "", "", "show which virtual addresses lead somewhere", info_paging),
    HmpCommand("tlb", "", "", "show where virtual addresses lead", info_paging),
]
