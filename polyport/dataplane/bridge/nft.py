"""libnftables, in process: rules as text in, the kernel's answer out. No `nft` is started for a change."""

import ctypes
import json
import socket
import struct
from typing import Any

from polyport.dataplane import DataplaneError
from polyport.dataplane.bridge.rtnetlink import attributes

_JSON_OUTPUT = 1 << 4

# linux/netfilter/nf_tables.h: NFT_MSG_GETGEN of subsystem NFNL_SUBSYS_NFTABLES, and its answer.
_NETLINK_NETFILTER = 12
_GET_GENERATION = 10 << 8 | 16
_GENERATION_ID = 1


class NftError(DataplaneError):
    """The rules were refused: {reason}."""


class NftMissing(DataplaneError):
    """libnftables.so.1 is not on this host (Debian and Ubuntu: the package libnftables1): {reason}."""


class Nft:
    """One context of libnftables. It reads and changes the network namespace of the thread that made it."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL("libnftables.so.1")
        except OSError as error:
            raise NftMissing(reason=error) from error
        library = self._library
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        library.nft_run_cmd_from_buffer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
        library.nft_ctx_output_set_flags.argtypes = [ctypes.c_void_p, ctypes.c_uint]
        library.nft_ctx_free.argtypes = [ctypes.c_void_p]
        for stream in ("output", "error"):
            getattr(library, f"nft_ctx_buffer_{stream}").argtypes = [ctypes.c_void_p]
            getattr(library, f"nft_ctx_get_{stream}_buffer").argtypes = [ctypes.c_void_p]
            getattr(library, f"nft_ctx_get_{stream}_buffer").restype = ctypes.c_char_p
        self._context: int | None = library.nft_ctx_new(0)
        library.nft_ctx_buffer_output(self._context)
        library.nft_ctx_buffer_error(self._context)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)

    def close(self) -> None:
        self._socket.close()
        if self._context is not None:
            self._library.nft_ctx_free(self._context)
            self._context = None

    def run(self, text: str) -> None:
        """Do all that `text` says, or none of it. Raises `NftError` in nft's own words."""
        self._run(text)

    def read(self, text: str) -> list[dict[str, Any]]:
        """What a `list ...` command shows, as nft's JSON schema has it. Raises `NftError`."""
        self._library.nft_ctx_output_set_flags(self._context, _JSON_OUTPUT)
        try:
            output = self._run(text)
        finally:
            self._library.nft_ctx_output_set_flags(self._context, 0)
        found: list[dict[str, Any]] = json.loads(output)["nftables"] if output else []
        return found

    def generation(self) -> int:
        """A number that grows by one with every change anybody makes to rules or elements in this namespace.

        What packets themselves put into sets does not count.
        """
        request = struct.pack("=IHHIIBBH", 20, _GET_GENERATION, 1, 0, 0, 0, 0, 0)
        try:
            self._socket.send(request)
            answer = self._socket.recv(4096)
        except OSError as error:
            raise NftError(reason=error.strerror) from error
        for kind, value in attributes(answer[20:]):
            if kind == _GENERATION_ID:
                return int.from_bytes(value, "big")
        raise NftError(reason="the kernel tells no generation of the rules")

    def _run(self, text: str) -> bytes:
        status = self._library.nft_run_cmd_from_buffer(self._context, text.encode("ascii"))
        # Reading a buffer empties it, so both are read whatever happened.
        output: bytes = self._library.nft_ctx_get_output_buffer(self._context) or b""
        complaint: bytes = self._library.nft_ctx_get_error_buffer(self._context) or b""
        if status != 0:
            raise NftError(reason=complaint.decode(errors="replace").strip() or f"status {status}")
        return output
