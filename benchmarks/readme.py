"""``python -m benchmarks.readme``: prints the README's report, from a real run, so that it can be pasted."""

from __future__ import annotations

import subprocess
import sys


def main() -> int:
    """Run the demo and print its report without the introduction and the reading help."""
    done = subprocess.run([sys.executable, "-m", "meminstr", "demo"], capture_output=True, text=True, check=True)
    text = done.stdout
    begin = text.index("\n\n", text.index("Gain search")) + 2
    print(text[begin : text.index("How to read it")].rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
