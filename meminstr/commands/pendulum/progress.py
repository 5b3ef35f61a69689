"""A progress bar of one line, for a terminal only: whether there is one is the caller's matter."""

from __future__ import annotations

from typing import TextIO


class ProgressBar:
    """One line on a terminal, drawn again when its percentage or its label changes."""

    WIDTH = 30

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._shown: tuple[int, str] | None = None
        self._length = 0

    def __call__(self, done: int, total: int, label: str) -> None:
        """Show how far it is."""
        percent = 100 * done // total
        if self._shown == (percent, label):
            return
        self._shown = (percent, label)
        filled = self.WIDTH * done // total
        line = f"[{'#' * filled}{'.' * (self.WIDTH - filled)}] {percent:3d} %  {done:,}/{total:,}  {label}"
        self._stream.write("\r" + line.ljust(self._length))
        self._stream.flush()
        self._length = len(line)

    def close(self) -> None:
        """Wipe the line, so that what is printed next stands where the bar stood."""
        if self._length:
            self._stream.write("\r" + " " * self._length + "\r")
            self._stream.flush()
            self._length = 0
