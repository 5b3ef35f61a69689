"""What can be set, from where, and which values are allowed: one frozen `Settings` for the process.

Sources, strongest first: arguments, ``MEMINSTR_*`` in the environment, ``[tool.meminstr]`` in the nearest
``pyproject.toml`` (read by the command line and whoever asks for it: importing a library must not walk
the file system), defaults.  A mistake made by a person in front of a terminal is a `UsageError`; the same
mistake found when a library is imported must not stop the host program: it is noted, and the next source
counts.  What a setting does is the matter of the module that reads it.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import math
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import UsageError
from .faults import note_fault

logger = logging.getLogger("meminstr")

_PREFIX = "MEMINSTR_"
_WORDS = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Rule:
    """How one field is read from text and checked."""

    allowed: str
    from_text: Callable[[str], object]
    accepts: Callable[[object], bool]


def _switch() -> _Rule:
    def from_text(text: str) -> object:
        return _WORDS.get(text.strip().lower(), text)

    return _Rule("1, 0, true, false, yes, no, on or off", from_text, lambda value: isinstance(value, bool))


def _whole(least: int, most: int) -> _Rule:
    def accepts(value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most

    return _Rule(f"a whole number from {least:,} to {most:,}", int, accepts)


def _number(least: float, most: float) -> _Rule:
    def accepts(value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        return math.isfinite(value) and least <= value <= most

    return _Rule(f"a number from {least:g} to {most:g}", float, accepts)


def _path() -> _Rule:
    def accepts(value: object) -> bool:
        return value is None or (isinstance(value, str) and bool(value.strip()) and "\0" not in value)

    return _Rule("a file name", str, accepts)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """Everything that can be set, checked on construction.

    Attributes:
        enabled: False makes every decorator return its argument untouched (``MEMINSTR_DISABLED=1`` too).
        every: one call in so many is sampled.
        horizon: calls of a function before growth may be called a leak.
        sample_budget_share: share of wall time that reading memory may take.
        cost_budget_share: share of the process's CPU time that all of meminstr may take.
        cap_seconds: longest single reading on a call's path; a dearer probe is read elsewhere or more rarely.
        sample_interval_seconds: how often the process itself is read in the background.
        max_subjects: functions and classes kept apart; the others are counted together.
        max_followed: live instances of a class followed one by one; above, deaths are thinned.
        birth_sites: whether a sample of constructions remembers where it happened.
        grace_seconds: how long an object may outlive its cleanup before it is called retained.
        log_interval_seconds: shortest time between two equal messages in the log.
        diagnose_seconds: time that finding holders may take for one report.
        exit_seconds: longest that SIGTERM waits for the report to be written.
        report: where the report is written at exit, or None; ``{pid}`` stands for the process id.
        shards: the folder that this process and its children write shards to, or None.
        shard_seconds: how often a shard is written.
        shards_kept: shards in a folder; above, the oldest of processes that ended well are removed.

    Raises:
        UsageError: a value that is not allowed.
    """

    enabled: bool = True
    every: int = 100
    horizon: int = 5_000
    sample_budget_share: float = 0.001
    cost_budget_share: float = 0.01
    cap_seconds: float = 0.001
    sample_interval_seconds: float = 1.0
    max_subjects: int = 10_000
    max_followed: int = 100_000
    birth_sites: bool = True
    grace_seconds: float = 5.0
    log_interval_seconds: float = 60.0
    diagnose_seconds: float = 2.0
    exit_seconds: float = 15.0
    report: str | None = None
    shards: str | None = None
    shard_seconds: float = 5.0
    shards_kept: int = 1_000

    def __post_init__(self) -> None:
        for key in _RULES:
            value = getattr(self, key)
            if isinstance(value, os.PathLike) and key in ("report", "shards"):
                value = os.fspath(value)
                object.__setattr__(self, key, value)
            _check(key, value, key)


_RULES: dict[str, _Rule] = {
    "enabled": _switch(),
    "every": _whole(1, 10**9),
    "horizon": _whole(10, 10**12),
    "sample_budget_share": _number(0.0, 1.0),
    "cost_budget_share": _number(0.0, 1.0),
    "cap_seconds": _number(0.0, 60.0),
    "sample_interval_seconds": _number(0.001, 86_400.0),
    "max_subjects": _whole(1, 10**7),
    "max_followed": _whole(0, 10**9),
    "birth_sites": _switch(),
    "grace_seconds": _number(0.0, 86_400.0),
    "log_interval_seconds": _number(0.0, 86_400.0),
    "diagnose_seconds": _number(0.0, 3_600.0),
    "exit_seconds": _number(0.0, 3_600.0),
    "report": _path(),
    "shards": _path(),
    "shard_seconds": _number(0.05, 86_400.0),
    "shards_kept": _whole(1, 10**7),
}

# Variables with the prefix that are no setting of this table: read elsewhere, so not worth a warning.
_OTHER_VARIABLES = frozenset({"DISABLED", "DUMP", "SPECS"})


def load(
    *,
    files: bool = False,
    strict: bool = False,
    environ: Mapping[str, str] | None = None,
    directory: str | os.PathLike[str] | None = None,
    arguments: Mapping[str, object] | None = None,
) -> Settings:
    """The settings of all sources together.

    Args:
        files: also read ``[tool.meminstr]`` of the nearest ``pyproject.toml``.
        strict: a bad value in the environment or the file is an error; otherwise it is noted and passed over.
        environ: the environment, the process's own by default.
        directory: where the search for ``pyproject.toml`` starts, upwards; the working directory by default.
        arguments: the strongest source; a value of None means "not given".

    Raises:
        UsageError: an argument that does not exist or has a value that is not allowed; with ``strict`` also
            a value of the environment or the file.
    """
    values: dict[str, Any] = {}
    if files:
        values.update(_from_file(Path.cwd() if directory is None else Path(directory), strict))
    values.update(_from_environment(os.environ if environ is None else environ, strict))
    given = {key: value for key, value in (arguments or {}).items() if value is not None}
    _refuse_unknown(given)
    values.update(given)
    return Settings(**values)


def current() -> Settings:
    """The settings of this process: what `configure` made them, else the environment's and the defaults."""
    global _current
    if _current is None:
        _current = load()
    return _current


def configure(**arguments: object) -> Settings:
    """Change settings of this process from here on; what is not named stays as it is.

    Returns:
        The settings that now apply.

    Raises:
        UsageError: a name that does not exist, or a value that is not allowed.
    """
    global _current
    _refuse_unknown(arguments)
    _current = dataclasses.replace(current(), **arguments)  # type: ignore[arg-type]
    return _current


def use(settings: Settings | None) -> None:
    """Make these the settings of the process; None means: read the environment again at the next look."""
    global _current
    _current = settings


def _check(key: str, value: object, source: str, written: object = None) -> None:
    rule = _RULES[key]
    if not rule.accepts(value):
        shown = value if written is None else written
        raise UsageError(f"{source}={shown!r} is not allowed: {rule.allowed} is")


def _refuse_unknown(arguments: Mapping[str, object]) -> None:
    for key in arguments:
        if key not in _RULES:
            raise UsageError(f"there is no setting {key!r}{_nearest(key)}; there are: {', '.join(_RULES)}")


def _nearest(key: str, prefix: str = "") -> str:
    close = difflib.get_close_matches(key.lower(), _RULES, n=1)
    name = prefix + close[0].upper() if close and prefix else (close[0] if close else "")
    return f" (did you mean {name}?)" if name else ""


def _from_environment(environ: Mapping[str, str], strict: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for variable in sorted(environ):
        text = environ[variable]
        if not variable.startswith(_PREFIX) or not text.strip():
            continue
        key = variable.removeprefix(_PREFIX).lower()
        if key not in _RULES:
            if key.upper() not in _OTHER_VARIABLES:
                logger.warning("meminstr_unknown_setting: %s is ignored%s", variable, _nearest(key, _PREFIX))
            continue
        _take(found, key, text, variable, strict)
    switched_off: dict[str, Any] = {}
    if environ.get(_PREFIX + "DISABLED", "").strip():
        _take(switched_off, "enabled", environ[_PREFIX + "DISABLED"], _PREFIX + "DISABLED", strict)
    if switched_off.get("enabled"):  # "disabled" wins over "enabled": the one who wants out gets out
        found["enabled"] = False
    return found


def _from_file(directory: Path, strict: bool) -> dict[str, Any]:
    path = _nearest_pyproject(directory)
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8")).get("tool", {}).get("meminstr", {})
        if not isinstance(table, dict):
            raise UsageError("[tool.meminstr] is not a table")
    except (OSError, ValueError, AttributeError) as error:
        # somebody else's broken file is not a mistake in using meminstr: say so and go on without it
        logger.warning("meminstr_settings_file: %s cannot be read, its settings are ignored: %s", path, error)
        return {}
    found: dict[str, Any] = {}
    for written, value in table.items():
        key = written.replace("-", "_")
        if key not in _RULES:
            logger.warning(
                "meminstr_unknown_setting: %s in [tool.meminstr] of %s is ignored%s", written, path, _nearest(key)
            )
            continue
        _take(found, key, value, f"{written} in [tool.meminstr] of {path}: {written}", strict)
    return found


def _nearest_pyproject(directory: Path) -> Path | None:
    directory = directory.absolute()
    for folder in (directory, *directory.parents):
        path = folder / "pyproject.toml"
        try:
            if path.is_file():
                return path
        except OSError:  # a folder above that may not be looked into
            continue
    return None


def _take(found: dict[str, Any], key: str, value: object, source: str, strict: bool) -> None:
    """Put one value of a source into ``found``, or refuse it, or note it and leave it out."""
    written = value
    if isinstance(value, str) and source.startswith(_PREFIX):
        try:
            value = _RULES[key].from_text(value)
        except ValueError:
            pass  # stays text, which the check below refuses with the allowed values
    try:
        _check(key, value, source, written)
    except UsageError as error:
        if strict:
            raise
        note_fault(f"setting {source}", error)
    else:
        found[key] = value


_current: Settings | None = None
