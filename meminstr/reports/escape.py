"""Names that came from the program, made harmless for a terminal, and lines that fit its width.

A class may be named by a request, a file by an attacker: control characters, ANSI sequences, bidirectional
overrides and lone surrogates are shown as escapes, never sent.  Markup is left to `html`.
"""

from __future__ import annotations

import re
import unicodedata

NBSP = "\u00a0"
"""Keeps a figure and its unit on one line; `wrap` prints it as a space."""

_PRINTABLE_ASCII = re.compile(r"[ -~]*")


def safe(value: object, limit: int = 400) -> str:
    """`value` as one line of harmless text of at most `limit` characters, its middle cut where longer."""
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    if not _PRINTABLE_ASCII.fullmatch(text):
        # what is cut below need not be escaped first: no character becomes shorter
        window = text if len(text) <= 2 * limit else text[:limit] + text[-limit:]
        text = "".join(_escaped(window))
    if len(text) > limit:
        head = (limit - 3) * 2 // 3
        text = f"{text[:head]}...{text[len(text) - (limit - 3 - head) :]}"
    return text


def _escaped(text: str) -> list[str]:
    out: list[str] = []
    marks = 0
    for char in text:
        category = unicodedata.category(char)
        # C*: controls, formats (bidi, zero width), surrogates, private, unassigned; Z*: odd separators
        bad = category[0] in "CZ" and char != " "
        marks = marks + 1 if category[0] == "M" else 0
        # a pile of combining marks climbs over the lines above it
        out.append(_code(char) if bad or marks > 2 else char)
    return out


def _code(char: str) -> str:
    point = ord(char)
    if char in "\n\r\t":
        return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}[char]
    return f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def display_width(text: str) -> int:
    """Columns of `text` in a terminal, on the safe side: combining marks count as one."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def wrap(text: str, width: int, first: str = "", rest: str = "") -> list[str]:
    """`text` in lines of at most `width` columns, `first` before the first and `rest` before the others.

    Words longer than a line are broken, after a separator of paths where there is one.
    """
    lines: list[str] = []
    line, empty = first, True
    for word in text.split(" "):
        if not word:
            continue
        gap = "" if empty else " "
        if display_width(line) + len(gap) + display_width(word) <= width:
            line, empty = line + gap + word, False
            continue
        if not empty:
            lines.append(line)
            line = rest
        while display_width(line) + display_width(word) > width:
            piece = _break(word, width - display_width(line))
            lines.append(line + piece)
            line, word = rest, word[len(piece) :]
        line, empty = line + word, False
    lines.append(line)
    return [entry.replace(NBSP, " ").rstrip() for entry in lines]


def _break(word: str, room: int) -> str:
    used, cut = 0, 0
    while cut < len(word) and (used := used + display_width(word[cut])) <= room:
        cut += 1
    cut = max(cut, 1)
    for back in range(cut, cut // 2, -1):
        if word[back - 1] in "/\\.,_-:[](){}" + NBSP:
            return word[:back]
    return word[:cut]
