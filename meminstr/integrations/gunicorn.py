"""Hooks for a gunicorn configuration file: a worker that nears its limit finishes its requests and is replaced.

    # gunicorn.conf.py
    from meminstr.integrations.gunicorn import recycling
    post_worker_init, worker_exit = recycling(eta_seconds=600, directory="run")

The hooks are called in the worker; gunicorn's arbiter starts a new one for each that ends.  Nothing of gunicorn is
imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .recycling import Recycler, terminate_self

Hook = Callable[..., None]


def recycling(**options: Any) -> tuple[Hook, Hook]:
    """The hooks ``post_worker_init`` and ``worker_exit``.

    Args:
        options: what `Recycler` takes: ``eta_seconds``, ``above``, ``leaking``, ``cooldown_seconds``, ``directory`` ...

    Raises:
        UsageError: an option that is not allowed; when the configuration is read, not in a worker.
    """
    Recycler(**options)
    running: list[Recycler] = []
    asked = options.get("action", terminate_self)

    def post_worker_init(worker: Any) -> None:
        def leave() -> None:
            # into gunicorn's own log too: the application's may go nowhere
            worker.log.warning("meminstr_recycle: worker %d lets itself be replaced: %s", worker.pid, one.reason)
            asked()

        one = Recycler(**{**options, "action": leave})
        running[:] = [one.start()]

    def worker_exit(server: Any, worker: Any) -> None:
        for one in running:
            one.stop()

    return post_worker_init, worker_exit
