"""How fast the guest dirties its RAM, at the human monitor (migration-hmp-cmds.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from monitor.hmp import HmpCommand
from qapi.error import QmpError
from vmd.qmp import migration

if TYPE_CHECKING:
    from monitor.hmp import Hmp
    from vmd.machine import Machine


def calc_dirty_rate(
    machine: Machine,
    hmp: Hmp,
    second: int,
    sample_pages_per_GB: int | None = None,
    dirty_ring: bool = False,
    dirty_bitmap: bool = False,
) -> None:
    if not second:
        hmp.print("Incorrect period length specified!\n")
        return
    if dirty_ring and dirty_bitmap:
        hmp.print("Either dirty ring or dirty bitmap can be specified!\n")
        return
    mode = "dirty-ring" if dirty_ring else "dirty-bitmap" if dirty_bitmap else "page-sampling"
    migration.calc_dirty_rate(machine, second, sample_pages=sample_pages_per_GB, mode=mode)
    hmp.print(f"Starting dirty rate measurement with period {second} seconds\n")
    hmp.print("[Please use 'info dirty_rate' to check results]\n")


def info_dirty_rate(machine: Machine, hmp: Hmp) -> None:
    told: dict[str, Any] = migration.query_dirty_rate(machine)
    hmp.print(f"Status: {told['status']}\nStart Time: {told['start-time']} (ms)\n")
    if told["mode"] == "page-sampling":
        hmp.print(f"Sample Pages: {told['sample-pages']} (per GB)\n")
    hmp.print(f"Period: {told['calc-time']} (sec)\nMode: {told['mode']}\n")
    rate = f"{told['dirty-rate']} (MB/s)" if "dirty-rate" in told else "(not ready)"
    hmp.print(f"Dirty rate: {rate}\n")
    for cpu in told.get("vcpu-dirty-rate", ()):
        hmp.print(f"vcpu[{cpu['id']}], Dirty rate: {cpu['dirty-rate']} (MB/s)\n")


def set_vcpu_dirty_limit(
    machine: Machine, hmp: Hmp, dirty_rate: int, cpu_index: int | None = None
) -> None:
    if dirty_rate < 0:
        raise QmpError(f"invalid dirty page limit {dirty_rate}")
    migration.set_vcpu_dirty_limit(machine, dirty_rate, cpu_index)


def cancel_vcpu_dirty_limit(machine: Machine, hmp: Hmp, cpu_index: int | None = None) -> None:
    migration.cancel_vcpu_dirty_limit(machine, cpu_index)
    hmp.print("[Please use 'info vcpu_dirty_limit' to query dirty limit for virtual CPU]\n")


def info_vcpu_dirty_limit(machine: Machine, hmp: Hmp) -> None:
    limits = migration.query_vcpu_dirty_limit(machine)
    if not limits:
        hmp.print("Dirty page limit not enabled!\n")
    for limit in limits:
        hmp.print(
            f"vcpu[{limit['cpu-index']}], limit rate {limit['limit-rate']} (MB/s),"
            f" current rate {limit['current-rate']} (MB/s)\n"
        )


COMMANDS = [
    HmpCommand(
        "calc_dirty_rate",
        "dirty_ring:-r,dirty_bitmap:-b,second:l,sample_pages_per_GB:l?",
        "[-r] [-b] second [sample_pages_per_GB]",
        "measure for so many seconds how fast the guest dirties its RAM\n"
        "\t\t\t -r: by the accelerator's dirty ring\n"
        "\t\t\t -b: by counting all pages written",
        calc_dirty_rate,
    ),
    HmpCommand(
        "cancel_vcpu_dirty_limit",
        "cpu_index:l?",
        "[cpu_index]",
        "let CPUs dirty RAM as fast as they can",
        cancel_vcpu_dirty_limit,
    ),
    HmpCommand(
        "set_vcpu_dirty_limit",
        "dirty_rate:l,cpu_index:l?",
        "dirty_rate [cpu_index]",
        "limit how many MB a second a CPU dirties",
        set_vcpu_dirty_limit,
    ),
]

INFO = [
    HmpCommand("dirty_rate", "", "", "show how fast the guest dirties its RAM", info_dirty_rate),
    HmpCommand(
        "vcpu_dirty_limit", "", "", "show how fast CPUs may dirty RAM", info_vcpu_dirty_limit
    ),
]
