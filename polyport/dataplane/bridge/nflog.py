"""Frames that a rule logs to a group (NFLOG), read from a netlink socket of the current thread's namespace.

Source: the kernel's include/uapi/linux/netfilter/nfnetlink_log.h.
"""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from polyport.dataplane import DataplaneError

_NETLINK_NETFILTER = 12
_ULOG = 4 << 8
_PACKET, _CONFIG = _ULOG | 0, _ULOG | 1
_ERROR = 2
_REQUEST_ACK = 0x1 | 0x4
_CFG_CMD, _CFG_MODE, _CFG_TIMEOUT = 1, 2, 4
_BIND, _COPY_PACKET = 1, 2
_IN_DEVICE, _IN_PORT, _PAYLOAD = 4, 6, 9
_HEADER = struct.Struct("=IHHII")
_GENERAL = struct.Struct("!BBH")
_ATTRIBUTE = struct.Struct("=HH")


class LogUnavailable(DataplaneError):
    """Frames that rules log cannot be read: {reason}."""


def listen(group: int, most: int) -> socket.socket:
    """A socket that gets the first `most` octets of each frame logged to `group`. Raises `LogUnavailable`."""
    log = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    try:
        log.bind((0, 0))
        log.settimeout(5.0)
        for kind, value in (
            (_CFG_CMD, struct.pack("B", _BIND)),
            (_CFG_MODE, struct.pack("!IBB", most, _COPY_PACKET, 0)),
            (_CFG_TIMEOUT, struct.pack("!I", 5)),  # hundredths of a second that frames wait for others
        ):
            detail = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value
            body = _GENERAL.pack(socket.AF_UNSPEC, 0, group) + detail + bytes(-len(detail) % 4)
            log.send(_HEADER.pack(_HEADER.size + len(body), _CONFIG, _REQUEST_ACK, kind, 0) + body)
            answer = log.recv(65536)
            _, answered, _, _, _ = _HEADER.unpack_from(answer)
            (number,) = struct.unpack_from("=i", answer, _HEADER.size)
            if answered == _ERROR and number != 0:
                raise OSError(-number, os.strerror(-number))
        log.setblocking(False)
    except OSError as error:
        log.close()
        raise LogUnavailable(reason=error.strerror or error) from error
    return log


def read(log: socket.socket) -> Iterator[tuple[int, bytes]]:
    """(number of the link a frame came in by, what follows its Ethernet header) of each frame there is."""
    while True:
        try:
            messages = log.recv(1 << 18)
        except OSError as error:
            # Frames were lost (there were too many); those that are left can be read.
            if error.errno == errno.ENOBUFS:
                continue
            return
        at = 0
        while at + _HEADER.size <= len(messages):
            length, kind, _, _, _ = _HEADER.unpack_from(messages, at)
            if kind == _PACKET:
                with suppress(struct.error):
                    yield _frame(messages[at + _HEADER.size + _GENERAL.size : at + length])
            at += max(length + 3 & ~3, _HEADER.size)


def _frame(details: bytes) -> tuple[int, bytes]:
    device, payload, at = 0, b"", 0
    while at + _ATTRIBUTE.size <= len(details):
        length, kind = _ATTRIBUTE.unpack_from(details, at)
        value = details[at + _ATTRIBUTE.size : at + length]
        match kind & 0x3FFF:
            # Kernels that know of bridge ports name the port so, and its bridge as the device.
            case code if code == _IN_PORT:
                (device,) = struct.unpack("!I", value)
            case code if code == _IN_DEVICE and not device:
                (device,) = struct.unpack("!I", value)
            case code if code == _PAYLOAD:
                payload = value
        at += max(length + 3 & ~3, _ATTRIBUTE.size)
    return device, payload
