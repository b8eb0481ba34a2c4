"""Guest memory: RAM blocks, the backends they come from, and the address space they are in."""

from vmd.memory.addressspace import AddressSpace, split_ram
from vmd.memory.backends import MemoryBackend, create
from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE
from vmd.memory.ramblock import RamBlock, is_ignored, page_align

__all__ = [
    "PAGE_BITS",
    "PAGE_SIZE",
    "AddressSpace",
    "MemoryBackend",
    "RamBlock",
    "create",
    "is_ignored",
    "page_align",
    "split_ram",
]
