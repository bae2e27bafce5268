"""Captures: a packet socket on a tap, opened in the namespace, read on the event loop.

What such a socket sees of a frame from the guest, it sees before bridge and rules have it; of a frame to the guest, it
sees what rules have let pass. The kernel keeps a frame's VLAN tag beside it; here it is put back in its place.

    open --> frames are read --> the tap goes --> what is left is read --> the end
                 ^     |
             tap up   tap down (nothing is heard meanwhile)
"""

import asyncio
import errno
import socket
import struct
import time
from contextlib import suppress

from polyport.capture import Frame
from polyport.dataplane import DataplaneError


class CaptureFailed(DataplaneError):
    """The frames of {tap} cannot be captured: {reason}."""


_MOST_AT_ONCE = 64
"""Frames read before the event loop may do something else."""
_KEPT_OCTETS = 4 << 20
"""Of kernel memory, for frames that were not read yet."""
_LOOK_SECONDS = 0.25
"""Between two looks whether a tap that went down has gone: the kernel speaks of the first, not always of the second."""

_ETH_P_ALL = 3
_ETH_P_8021Q = 0x8100
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_SOL_PACKET = 263
_PACKET_STATISTICS = 6
_PACKET_AUXDATA = 8
_PACKET_OUTGOING = 4
_VLAN_VALID, _VLAN_PROTOCOL_VALID = 1 << 4, 1 << 6

_TIMESPEC = struct.Struct("@ll")
_AUXDATA = struct.Struct("=IIIHHHH")
"""struct tpacket_auxdata: status, length, captured, where link and network headers begin, VLAN tag and protocol."""
_STATISTICS = struct.Struct("=II")
_ANCILLARY = socket.CMSG_SPACE(_TIMESPEC.size) + socket.CMSG_SPACE(_AUXDATA.size)


class TapCapture:
    """A `Capture`. Closes the socket it is given."""

    def __init__(self, listener: socket.socket, snaplen: int) -> None:
        self._socket = listener
        self._snaplen = snaplen
        self._buffer = bytearray(snaplen)
        self._view = memoryview(self._buffer)
        self._was_down = False

    async def read(self) -> list[Frame]:
        while True:
            # Waited for even where there are frames already: a flood does not keep the event loop for itself.
            await self._readable()
            frames = self._take()
            if frames or self._gone():
                return frames

    def lost(self) -> int:
        _, dropped = _STATISTICS.unpack(self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, _STATISTICS.size))
        return int(dropped)

    def close(self) -> None:
        self._socket.close()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        loop.add_reader(self._socket, ready.set)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_SECONDS if self._was_down else None):
                    await ready.wait()
        finally:
            loop.remove_reader(self._socket)

    def _take(self) -> list[Frame]:
        frames: list[Frame] = []
        while len(frames) < _MOST_AT_ONCE:
            try:
                size, ancillary, _, address = self._socket.recvmsg_into([self._buffer], _ANCILLARY)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno != errno.ENETDOWN:
                    raise
                # Told once, and before the frames that came earlier are handed out.
                self._was_down = True
                continue
            frames.append(self._frame(size, ancillary, outgoing=address[2] == _PACKET_OUTGOING))
        return frames

    def _gone(self) -> bool:
        """Whether the tap is there no more. A socket of a tap that went has no link, so it cannot name one."""
        return self._was_down and self._socket.getsockname()[0] == ""

    def _frame(self, size: int, ancillary: list[tuple[int, int, bytes]], *, outgoing: bool) -> Frame:
        data, length, moment = bytes(self._view[:size]), size, None
        for level, kind, value in ancillary:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, length, _, _, _, tag, protocol = _AUXDATA.unpack(value)
                if status & _VLAN_VALID:
                    protocol = protocol if status & _VLAN_PROTOCOL_VALID else _ETH_P_8021Q
                    data = (data[:12] + struct.pack("!HH", protocol, tag) + data[12:])[: self._snaplen]
                    length += 4
            elif (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESPEC.unpack(value)
                moment = seconds * 1_000_000_000 + nanoseconds
        return Frame(
            time=time.time_ns() if moment is None else moment,
            data=data,
            length=length,
            direction="ingress" if outgoing else "egress",
        )


def capture(tap: str, snaplen: int) -> TapCapture | None:
    """The frames of a tap of this thread's namespace from now on; None where it is not there."""
    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, 0)
    try:
        listener.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _KEPT_OCTETS)
        listener.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        listener.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        # The protocol comes last: nothing of other links is heard before.
        listener.bind((tap, _ETH_P_ALL))
    except OSError as error:
        listener.close()
        if error.errno == errno.ENODEV:
            return None
        raise CaptureFailed(tap=tap, reason=error.strerror) from error
    return TapCapture(listener, snaplen)
