"""What TAB offers, and what it types. Each line is run as TAB has left it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.differential.scenes import NONE, typed

if TYPE_CHECKING:
    from tests.differential.stage import Stage

THINGS = (
    " -object iothread,id=io1 -object memory-backend-ram,id=mem1,size=1M -chardev ringbuf,id=rb1"
    " -chardev null,id=nil1 -netdev user,id=net1 -blockdev null-co,node-name=blk1"
)
ICE = "-machine pc -nodefaults -S -m 32 -accel tcg -device virtio-rng-pci,id=rng0"


def commands_and_their_sub_commands(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "migrate_set_ca\t",
        "info versi\t",
        "info migr\t",
        "info mi\tzzz",
        "help foo \tzzz",
        "zzz\t",
        "info zzz\t",
        "info version \t",
        "zzz \t",
    )


def words_of_migration(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "migrate_set_capability pause\tof\t",
        "migrate_set_capability pause-before-switchover \tf\t",
        "migrate_set_capability nosuch \tn\t",
        "migrate_set_parameter downt\t5\t",
        "migrate_set_parameter mode \tnormal",
        "migrate_set_parameter mode cpr-r\tzzz",
        "migrate \tzzz",
        "migrate -\tzzz",
        "migrate_continue pre\t",
        "migrate_incoming fil\t",
    )


def ids(stage: Stage) -> None:
    typed(
        stage,
        NONE + THINGS,
        "object_del \tzzz",
        "object_del i\t",
        "object_add memory-backend-r\t,id=x",
        "object_add iothr\tzzz",
        "chardev-remove n\t",
        "chardev-send-break ni\t",
        "chardev-change ni\t",
        "ringbuf_read r\t5",
        "ringbuf_write r\tdata",
        "ringbuf_read r\t5",
        "chardev-remove rb1 \t",
        "netdev_del net\t",
        "set_link net\tof\t",
        "qom-list /obj\t",
        "qom-get /obj\t",
        "info block b\t",
    )


def kinds(stage: Stage) -> None:
    typed(
        stage,
        NONE,
        "netdev_add hubp\t",
        "netdev_add use\t,id=n1",
        "netdev_add user,\t",
        "chardev-add ringb\t,id=r2",
        "device_add virtio-rng-p\t,id=r1,bus=x",
        "device_add virtio-rng-pci,\t",
    )


def devices(stage: Stage) -> None:
    typed(
        stage,
        ICE,
        "device_del rn\t",
        "cpu \t0",
        "set_link \tx off",
        "watchdog_action \tnone",
        "watchdog_action rese\t",
        "sendkey ctrl-caps\t",
        "sendkey ctrl-alt-delet\t",
        "sendkey a cap\t",
        "boot_set \tc",
        "trace-event nosuch \tn\t",
    )
