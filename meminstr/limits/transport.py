"""Objects between a process and its worker: pickle over a socket, large buffers through anonymous shared memory.

Pickle's protocol 5 hands large buffers (arrays) out of band; they are copied once into a memory file (``memfd``)
whose descriptor travels with the message, and the receiver's arrays lie on that memory itself.  A memory file has
no name and needs no clean-up: it is gone with its last user.  Where there is none, everything goes in band.
"""

from __future__ import annotations

import mmap
import os
import pickle
import socket
import struct
from typing import Any

LARGE_BYTES = 1 << 16
_ALIGNMENT = 64
_HEADER = struct.Struct(">QI")
_SIZE = struct.Struct(">Q")


class Closed(EOFError):
    """The other side is gone."""


def can_share() -> bool:
    """Whether large buffers can go through shared memory here."""
    return hasattr(os, "memfd_create") and hasattr(socket, "send_fds")


def packed(value: Any) -> tuple[bytes, list[memoryview]]:
    """A pickle, and the large buffers that are not in it.

    Raises:
        Exception: whatever the objects raise that cannot be pickled.
    """
    buffers: list[memoryview] = []

    def in_band(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes < LARGE_BYTES:
            return True
        buffers.append(view)
        return False

    if not can_share():
        return pickle.dumps(value, protocol=5), buffers
    return pickle.dumps(value, protocol=5, buffer_callback=in_band), buffers


def send(channel: socket.socket, message: tuple[bytes, list[memoryview]]) -> None:
    """Send what `packed` made.

    Raises:
        Closed: the other side is gone.
    """
    body, buffers = message
    try:
        channel.sendall(_HEADER.pack(len(body), len(buffers)))
        channel.sendall(b"".join(_SIZE.pack(view.nbytes) for view in buffers))
        if buffers:
            number = _shared(buffers)
            try:
                socket.send_fds(channel, [b"f"], [number])
            finally:
                os.close(number)
        channel.sendall(body)
    except (BrokenPipeError, ConnectionError) as error:
        raise Closed(str(error)) from error


def receive(channel: socket.socket) -> Any:
    """The next object.

    Raises:
        Closed: the other side is gone.
        Exception: whatever unpickling raises (the message is read in full before).
    """
    size, count = _HEADER.unpack(_exactly(channel, _HEADER.size))
    sizes = [_SIZE.unpack(_exactly(channel, _SIZE.size))[0] for _ in range(count)]
    buffers: list[memoryview] = []
    if count:
        _, numbers, _, _ = socket.recv_fds(channel, 1, 1)
        if not numbers:
            raise Closed("no descriptor came with the message")
        try:
            whole = memoryview(mmap.mmap(numbers[0], sum(_aligned(n) for n in sizes)))
        finally:
            os.close(numbers[0])
        at = 0
        for nbytes in sizes:
            buffers.append(whole[at : at + nbytes])
            at += _aligned(nbytes)
    return pickle.loads(_exactly(channel, size), buffers=buffers)


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT


def _shared(buffers: list[memoryview]) -> int:
    number = os.memfd_create("meminstr", os.MFD_CLOEXEC)
    try:
        os.ftruncate(number, sum(_aligned(view.nbytes) for view in buffers))
        at = 0
        for view in buffers:
            # writing, not mapping: the pages never count as resident memory of the sender
            sent = 0
            while sent < view.nbytes:
                sent += os.pwrite(number, view[sent:], at + sent)
            at += _aligned(view.nbytes)
    except BaseException:
        os.close(number)
        raise
    return number


def _exactly(channel: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    view, at = memoryview(data), 0
    while at < size:
        try:
            got = channel.recv_into(view[at:])
        except ConnectionError as error:
            raise Closed(str(error)) from error
        if not got:
            raise Closed("the other side closed the connection")
        at += got
    return data
