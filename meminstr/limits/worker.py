"""The worker's side of ``mode="process"``: takes calls from a socket, runs each under the kernel's limit.

Started by `isolated` as a fresh interpreter, ends when the socket closes, whatever becomes of the parent.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import socket
import sys
import traceback
import types
from typing import Any

from ..errors import MeminstrError
from . import transport

IN_WORKER = False
"""Whether this process is a worker: calls limited by ``mode="process"`` then run in place."""


def find(module: str, qualname: str) -> Any:
    """The function of that name; the plain function of a class method.

    Raises:
        ImportError, AttributeError: there is none.
    """
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return found.__func__ if isinstance(found, types.MethodType) else found


def main(number: int) -> None:
    """Serve calls until the parent hangs up."""
    global IN_WORKER
    IN_WORKER = True
    # the parent's Ctrl-C is the parent's to handle: it ends its workers itself
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=number) as channel:
        try:
            _prepare(transport.receive(channel))
            transport.send(channel, transport.packed(("ready", os.getpid())))
            while True:
                _serve(channel)
        except transport.Closed:
            return
        except BaseException as error:
            transport.send(channel, _failure(error))


def _prepare(preparation: dict[str, Any]) -> None:
    # multiprocessing's own way to make a child like its parent: search path, working folder, main module
    from multiprocessing import spawn

    spawn.prepare(preparation)


def _serve(channel: socket.socket) -> None:
    try:
        request = transport.receive(channel)
    except transport.Closed:
        raise
    except BaseException as error:  # an argument that cannot be unpickled here
        answer, peak = _failure(error), None
    else:
        answer, peak = _run(request)
    # the call is over: from here on its memory is not judged, the answer's copy least of all
    transport.send(channel, transport.packed(("done", peak)))
    transport.send(channel, answer)


def _run(request: tuple[Any, ...]) -> tuple[tuple[bytes, list[memoryview]], int | None]:
    from ..probes.peak import process_meter

    module, qualname, args, kwargs, allowed_bytes = request
    limits = _kernel_limits()
    peak: int | None = None
    window = process_meter.begin()
    try:
        function = find(module, qualname)
        if limits is not None:
            limits.acquire(1, allowed_bytes)
        try:
            result = function(*args, **kwargs)
            if inspect.iscoroutine(result):
                result = asyncio.run(result)
        finally:
            if limits is not None:
                limits.release(1)
        peak = process_meter.end(window).bytes
        answer = transport.packed(("result", result))
    except BaseException as error:
        peak = process_meter.end(window).bytes
        answer = _failure(error)
    return answer, peak


def _kernel_limits() -> Any:
    from .kernel import KernelLimits
    from .policy import available_modes

    return KernelLimits() if "kernel" in available_modes() else None


def _failure(error: BaseException) -> tuple[bytes, list[memoryview]]:
    text = "".join(traceback.format_exception(error))
    error.__traceback__ = None
    try:
        body = transport.packed(error)
        import pickle

        pickle.loads(body[0], buffers=body[1])  # some can be pickled and not be read again
        return transport.packed(("error", error, text))
    except Exception:
        stand_in = MeminstrError(f"{type(error).__qualname__}: {str(error)[:1000]}")
        return transport.packed(("error", stand_in, text))


if __name__ == "__main__":
    main(int(sys.argv[1]))
