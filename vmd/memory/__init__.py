"""Guest memory: RAM blocks and the address space that they are in; `backends` makes them."""

from vmd.memory.addressspace import AddressSpace, split_ram
from vmd.memory.dirty import PAGE_BITS, PAGE_SIZE
from vmd.memory.ramblock import RamBlock, is_ignored, page_align

__all__ = [
    "PAGE_BITS",
    "PAGE_SIZE",
    "AddressSpace",
    "RamBlock",
    "is_ignored",
    "page_align",
    "split_ram",
]
