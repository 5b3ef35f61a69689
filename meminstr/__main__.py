"""``python -m meminstr`` and the ``meminstr`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words behind ``meminstr``; those of the process by default.

    Returns:
        0, or 2 for a mistake in the command line, or the exit code of the program that was run.

    Raises:
        SystemExit: that of the program that was run.
    """
    from .at_exit import forget
    from .commands.parser import dispatch

    forget()  # what MEMINSTR_REPORT asked for is the command's own matter

    return dispatch(list(sys.argv[1:] if argv is None else argv))


if __name__ == "__main__":
    sys.exit(main())
