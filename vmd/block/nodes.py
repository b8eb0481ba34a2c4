"""The block nodes of a machine: files and the formats on them, as a graph of named nodes.

Observed from block.c and blockdev.c.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from qapi.error import QmpError
from vmd.block import image
from vmd.block.node import Loan, Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    OpenFile = Callable[[str, int], int]

_NAME = r"[a-zA-Z][a-zA-Z0-9_.-]{0,30}"
_GIB = 1 << 30
_MOST_NESTED = 150  # QEMU goes on with one that is based on itself until it has no descriptors
DRIVERS = ("file", "raw", "qcow2", "null-co", "null-aio")
_TOLD_OF_NULL = ("read-zeroes", "driver", "size")


class Nodes:
    """All nodes of a machine, by name; those without a name of the user's get one."""

    def __init__(
        self,
        open_file: OpenFile,
        begin_active: Callable[[], bool],
        report: Callable[[str], None],
    ) -> None:
        self._open_file = open_file
        self._begin_active = begin_active
        self._report = report
        self.by_name: dict[str, Node] = {}
        self._count = 0
        self._nested = 0  # how many images are being opened, each for the one that is based on it

    def activate(self, active: bool) -> None:
        """All images are this machine's from now on, or another's.

        QmpError if another process has one of them; then none is.
        """
        from vmd.block.locks import update

        nodes = list(self.by_name.values())
        changed = [node for node in nodes if node.active is not active]
        for node in changed:
            if not active:
                self._store_bitmaps(node)
            node.active = active
        try:
            for node in changed:
                update(node)
            for node in changed:
                if active:
                    _come_back(node)
        except QmpError:
            for node in nodes:
                node.active = False
                update(node)
            raise

    def add(self, options: Mapping[str, Any]) -> Node:
        """Make a node from the schema's BlockdevOptions; QmpError if it cannot be."""
        if "node-name" not in options:
            raise QmpError("'node-name' must be specified for the root node")
        return self._make(options)

    def open(
        self,
        filename: str,
        driver: str | None,
        *,
        read_only: bool,
        more: Mapping[str, Any] | None = None,
    ) -> Node:
        """Make a node of a file, which goes when its user does; a driver is found out if needed.

        `more` are other members of the schema's BlockdevOptions.
        """
        if driver is not None and driver not in DRIVERS:
            raise QmpError(f"Unknown driver '{driver}'")
        of_device = "host_device" if _is_device(filename) else "file"
        bottom = {"driver": of_device, "filename": filename, "read-only": read_only}
        file = self._make(bottom)
        found = driver or _probed(file)
        if found == "file":
            return file
        top = {"driver": found, "file": file.name, "read-only": read_only}
        return self._make(top | dict(more or {}))

    def release(self, node: Node) -> None:
        """Somebody has let go of a node: one that was made for him alone goes."""
        if (node.inline or node.name.startswith("#")) and not node.parents:
            self._drop(node)

    def find(self, name: str) -> Node:
        """The node of that name; QmpError if there is none."""
        node = self.by_name.get(name)
        if node is None:
            raise QmpError(f"Failed to find node with node-name='{name}'")
        return node

    def remove(self, name: str) -> None:
        """Remove a node that nobody uses, and those that were made for it alone."""
        node = self.find(name)
        if any(not isinstance(parent, Node) for parent in node.parents):
            raise QmpError(f"Node {name} is in use")
        for parent in node.parents:
            if isinstance(parent, Node) and parent.backing is node:
                text = f"Node '{name}' is busy: node is used as backing hd of '{parent.name}'"
                raise QmpError(text)
        if node.inline:
            raise QmpError(f"Node {name} is not owned by the monitor")
        if node.parents or any(bitmap.busy for bitmap in node.bitmaps):
            raise QmpError(f"Block device {name} is in use")
        self._drop(node)

    @contextmanager
    def borrowed(self, reference: object) -> Iterator[Node]:
        """A node for a while: one that is there, or one made for that. QmpError if it cannot be."""
        loan = Loan()
        node = self._child(loan, reference)
        try:
            yield node
        finally:
            node.lose(loan)
            if not isinstance(reference, str):
                self._drop(node)

    def end(self) -> None:
        """The process ends: what images shall keep is put into them."""
        for node in self.by_name.values():
            self._store_bitmaps(node)

    def _store_bitmaps(self, node: Node) -> None:
        if node.bitmaps:
            from vmd.block.persistent import let_go

            let_go(node, self._report)

    def _drop(self, node: Node) -> None:
        self._store_bitmaps(node)
        node.close()
        del self.by_name[node.name]
        self._let_go_of_children(node)

    def _let_go_of_children(self, node: Node) -> None:
        for child in (node.file, node.backing):
            if child is not None:
                child.lose(node)
                self.release(child)

    def _make(self, options: Mapping[str, Any]) -> Node:
        name = str(options["node-name"]) if "node-name" in options else self._own_name()
        if "node-name" in options:
            if re.fullmatch(_NAME, name) is None:
                raise QmpError(f"Invalid node-name: '{name}'")
            if name in self.by_name:
                raise QmpError(f"Duplicate nodes with node-name='{name}'")
        node = Node(str(options["driver"]), name, options)
        node.active = self._begin_active()
        from vmd.block.locks import update

        try:
            self._open(node, options)
            # A node is there before what it is based on.
            self.by_name[name] = node
            if node.header is not None:
                self._open_backing(node, node.header, options)
            update(node)
            if node.active and node.header is not None and node.header.bitmaps is not None:
                from vmd.block.persistent import load

                load(node)
        except BaseException:
            self.by_name.pop(name, None)
            node.close()
            self._let_go_of_children(node)
            raise
        return node

    def _open(self, node: Node, options: Mapping[str, Any]) -> None:
        if node.driver in ("file", "host_device"):
            node.open(str(options["filename"]), self._open_file)
        elif node.driver.startswith("null-"):
            # Options beyond its name make the node's name a JSON one.
            told = [f'"{key}": {_json(options[key])}' for key in _TOLD_OF_NULL if key in options]
            node.filename = f"{node.driver}://"
            if len(told) > 1:
                node.filename = f"json:{{{', '.join(told)}}}"
            node.virtual_size = int(options.get("size", _GIB))
        else:
            node.file = self._child(node, options["file"])
            node.filename = node.file.filename
            node.read_only = node.read_only or (
                node.file.read_only and bool(options.get("auto-read-only", False))
            )
            if node.driver == "qcow2":
                node.header = image.parse_qcow2(node.read(0, image.READ_SIZE))
                node.virtual_size = node.header.size

    def _open_backing(self, node: Node, header: image.Qcow2, options: Mapping[str, Any]) -> None:
        if "backing" not in options and header.backing is not None:
            node.backing = self._backing(node, lambda: self._implied(header, node.filename))
        elif options.get("backing"):
            node.backing = self._backing(node, lambda: options["backing"])
        elif header.backing is not None and node.file is not None:
            # Its name alone would not lead to the same node.
            file = f'{{"driver": "{node.file.driver}", "filename": "{node.filename}"}}'
            node.filename = f'json:{{"backing": null, "driver": "qcow2", "file": {file}}}'

    def _backing(self, node: Node, reference: Callable[[], object]) -> Node:
        failed = "Could not open backing file: "
        if self._nested >= _MOST_NESTED:
            raise QmpError(f"{failed}there are too many")
        self._nested += 1
        try:
            return self._child(node, reference())
        except QmpError as error:
            raise QmpError(failed + error.desc) from None
        finally:
            self._nested -= 1

    def _implied(self, header: image.Qcow2, filename: str) -> dict[str, Any]:
        """The node that an image says it is based on."""
        path = os.path.join(os.path.dirname(filename), str(header.backing))
        file: Any = {"driver": "file", "filename": path, "read-only": True}
        driver = header.backing_format
        if driver is None:
            opened = self._make(file)
            driver, file = _probed(opened), opened.name
        return {"driver": driver, "file": file, "read-only": True}

    def _child(self, parent: Node | Loan, reference: object) -> Node:
        if isinstance(reference, str):
            child = self.by_name.get(reference)
            if child is None:
                raise QmpError(f"Cannot find device='{reference}' nor node-name='{reference}'")
        else:
            assert isinstance(reference, dict)
            if reference["driver"] not in DRIVERS:
                raise QmpError(f"Unknown driver '{reference['driver']}'")
            inherited = {"read-only": parent.read_only} | dict(reference)
            child = self._make(inherited)
            child.inline = True
        child.parents.append(parent)
        return child

    def _own_name(self) -> str:
        self._count += 1
        return f"#block{self._count:03d}"


def _come_back(node: Node) -> None:
    if node.bitmaps or node.header is not None:
        from vmd.block.persistent import come_back

        come_back(node)


def _probed(file: Node) -> str:
    """The format that the first bytes tell."""
    return "qcow2" if file.read(0, 4) == image.MAGIC else "raw"


def _is_device(path: str) -> bool:
    """Whether QEMU takes it for a device of the host."""
    try:
        kind = os.stat(path).st_mode
    except OSError:
        return False
    return stat.S_ISCHR(kind) or stat.S_ISBLK(kind)


def _json(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int) else f'"{value}"'
