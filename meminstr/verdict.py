"""The words of a judgement: `Verdict`, `Interval`, `Finding` and the records a finding holds.

This file holds facts and no arithmetic: what is decided is decided in `meminstr.judgement`, from numbers
that `meminstr.trend` computed; what is printed is printed by `meminstr.reports`.  All records are frozen,
carry their units in their names, and turn into the JSON of the report contract with `Finding.to_dict`.
What is not known is None, and null in the JSON.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum, StrEnum
from numbers import Integral, Real
from typing import Any, TypeVar

_Record = TypeVar("_Record")
_PACKAGE = __name__.partition(".")[0]


class Verdict(StrEnum):
    """What is said of a subject.  Ordered from worst to best by `severity`."""

    LEAKING = "leaking"
    """Steady growth that outlived the horizon, or instances that outlived their cleanup."""
    GROWING = "growing"
    """The evidence of a leak, before the horizon: the early notice."""
    WARMING_UP = "warming_up"
    """Growth with a reason to end: saturating, a recent step, a bounded cache that fills."""
    INCONCLUSIVE = "inconclusive"
    """Too noisy to say either; the smallest leak that is excluded is stated."""
    INSUFFICIENT_DATA = "insufficient_data"
    """Too few samples, or a signal that failed."""
    CLEAN = "clean"
    """No growth above the stated bound."""

    @property
    def severity(self) -> int:
        """5 for `LEAKING` down to 0 for `CLEAN`."""
        return _SEVERITY[self]


_SEVERITY = {
    Verdict.LEAKING: 5,
    Verdict.GROWING: 4,
    Verdict.WARMING_UP: 3,
    Verdict.INCONCLUSIVE: 2,
    Verdict.INSUFFICIENT_DATA: 1,
    Verdict.CLEAN: 0,
}


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence limits; `low` or `high` None means unbounded on that side."""

    value: float
    low: float | None = None
    high: float | None = None

    def scaled(self, factor: float) -> Interval:
        """The same estimate in a unit `factor` times as fine (factor > 0)."""
        return Interval(
            self.value * factor,
            None if self.low is None else self.low * factor,
            None if self.high is None else self.high * factor,
        )


@dataclass(frozen=True, slots=True)
class OneTimeGrowth:
    """Memory a subject took once and kept: `bytes`, all of it before call (or construction) `until_call`."""

    bytes: int
    until_call: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Life counts of a class's instances; see `ControllerMemoryTracker`."""

    constructed: int = 0
    failed: int = 0
    cleaned: int = 0
    died: int = 0
    alive: int = 0
    retained: int = 0
    """Alive after their cleanup, confirmed by a collection where a report was asked to diagnose."""
    died_without_cleanup: int = 0


@dataclass(frozen=True, slots=True)
class Holder:
    """One group of surviving objects that are held in the same way."""

    path: str
    """The chain of references in Python syntax, root first: ``app.bus._listeners[*].callback``."""
    root: str
    """What kind of root: module, class, frame, coroutine, generator, thread, context, traceback, outside."""
    count: int
    retained_bytes: int | None = None
    fingerprint: str | None = None
    """Stable over runs and machines: a digest of the normalised path and the type held."""
    suspect: str | None = None
    """The reference in the path that should not be there, as a piece of `path`."""
    library: str | None = None
    """Explanation, when the path is a known habit of a library."""
    known: bool = False
    """In the baseline of accepted fingerprints."""


@dataclass(frozen=True, slots=True)
class BirthSite:
    """A place where surviving instances were constructed, and the share of the sampled ones born there."""

    file: str
    line: int
    function: str
    share: float


@dataclass(frozen=True, slots=True)
class ContextShare:
    """The share of the sampled survivors that were born under these `meminstr.context` tags."""

    tags: Mapping[str, str]
    share: float


@dataclass(frozen=True, slots=True)
class Grown:
    """A type or a container that gained entries between two censuses."""

    name: str
    """``module.Type`` or the container's path."""
    what: str
    """``type`` or ``container``."""
    count: int
    """Instances or entries gained."""
    bytes: int | None = None
    """Shallow bytes gained."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What meminstr has to say of one subject.  Field by field the JSON contract of the report."""

    subject: str
    subject_kind: str
    """function, class, process; later route, task, type."""
    verdict: Verdict
    reason: str
    memory_kind: str | None = None
    """python_objects, native_heap, mapping, container_buffer, fragmentation, descriptors, threads, tasks,
    device."""
    calls: int | None = None
    """Calls of a function, constructions of a class; None for the process."""
    onset_call: int | None = None
    one_time_growth: OneTimeGrowth | None = None
    bytes_per_call: Interval | None = None
    blocks_per_call: Interval | None = None
    live_per_call: Interval | None = None
    mb_per_1000: float | None = None
    """MiB per thousand calls or constructions."""
    mb_per_hour: Interval | None = None
    eta_seconds: Interval | None = None
    """Time until the process reaches its limit at this rate; None when it never does at this rate."""
    excluded_bytes_per_call: float | None = None
    """The smallest steady leak that the data exclude, at the stated confidence."""
    culprit_type: str | None = None
    counts: Counts | None = None
    holders: tuple[Holder, ...] = ()
    birth_sites: tuple[BirthSite, ...] = ()
    contexts: tuple[ContextShare, ...] = ()
    grown: tuple[Grown, ...] = ()
    advice: str | None = None
    signals: tuple[str, ...] = ()
    """The signals that were judged, each with its source, as ``blocks (sys.getallocatedblocks)``."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further facts, merged into the JSON object; keys of the contract cannot be overridden."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the report contract: plain values only, NaN and infinity as None."""
        out = {f.name: plain(getattr(self, f.name)) for f in fields(self) if f.name != "extra"}
        for key, value in self.extra.items():
            out.setdefault(str(key), plain(value))
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Finding:
        """Read back what `to_dict` wrote; keys that are not of the contract go to `extra`.

        Raises:
            ValueError: a key of the contract is missing or has a value that is not of the contract; the
                message names the finding and the key.
        """
        if not isinstance(data, Mapping):
            raise ValueError(f"a finding must be an object, not {_kind(data)}")
        known = {f.name for f in fields(cls)} - {"extra"}
        missing = {"subject", "subject_kind", "verdict", "reason"} - set(data)
        name = data.get("subject")
        where = f"finding {name!r}" if isinstance(name, str) else "a finding"
        if missing:
            raise ValueError(f"{where} without {', '.join(sorted(missing))}")
        values = {k: v for k, v in data.items() if k in known and v is not None}
        try:
            values["verdict"] = Verdict(str(values.get("verdict")))
        except ValueError:
            allowed = ", ".join(Verdict)
            raise ValueError(f"{where}: verdict {data['verdict']!r} is none of {allowed}") from None
        try:
            for key in ("bytes_per_call", "blocks_per_call", "live_per_call", "mb_per_hour", "eta_seconds"):
                if key in values:
                    values[key] = read_record(Interval, values[key])
            if "one_time_growth" in values:
                values["one_time_growth"] = read_record(OneTimeGrowth, values["one_time_growth"])
            if "counts" in values:
                values["counts"] = read_record(Counts, values["counts"])
            for key, record in _LISTS.items():
                values[key] = tuple(read_record(record, v) for v in _list(key, values.get(key, ())))
            values["signals"] = tuple(str(v) for v in _list("signals", values.get("signals", ())))
            return read_record(cls, {**values, "extra": {k: v for k, v in data.items() if k not in known}})
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None


_LISTS: dict[str, type] = {
    "holders": Holder,
    "birth_sites": BirthSite,
    "contexts": ContextShare,
    "grown": Grown,
}

# by the annotations of the records, which are strings here; other annotations are not checked
_ALLOWED: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "bool": (bool,),
    "Mapping[str, str]": (Mapping,),
}


def read_record(record: type[_Record], data: Any) -> _Record:
    """A record of this file (or one like it) from its JSON object.

    Keys may be added to the contract, so unknown ones are passed over.

    Raises:
        ValueError: no object, a missing key, or a value of another type than the field's.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{record.__name__} must be an object, not {_kind(data)}")
    values: dict[str, Any] = {}
    for entry in fields(record):  # type: ignore[arg-type]
        if entry.name not in data:
            continue
        value = data[entry.name]
        allowed = _ALLOWED.get(str(entry.type), (object,))
        if not isinstance(value, allowed) or (isinstance(value, bool) and allowed[0] in (int, str)):
            raise ValueError(f"{entry.name} must be {entry.type}, not {_kind(value)}")
        values[entry.name] = value
    try:
        return record(**values)
    except TypeError as error:
        raise ValueError(f"{record.__name__}: {str(error).partition('() ')[2] or error}") from None


def plain(value: Any, depth: int = 0) -> Any:
    """`value` in the types JSON has: records and mappings as dicts, NaN and infinity as None.

    An object of any other type is shown by its type's name only: a report carries no values of the user's
    objects.  Nesting deeper than 40 levels (a cycle, as a rule) is cut.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return plain(value.value, depth + 1)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Integral):
        # beyond this Python refuses to print a number, and no figure of ours comes near
        return number if (number := int(value)).bit_length() < 4096 else None
    if isinstance(value, Real):
        return float(value) if math.isfinite(value) else None
    if depth >= 40:
        return "..."
    if isinstance(value, Interval) and not math.isfinite(value.value):
        return None  # an estimate that is not finite is not known
    if is_dataclass(value) and type(value).__module__.partition(".")[0] == _PACKAGE:
        return {f.name: plain(getattr(value, f.name), depth + 1) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, AbstractSet):
        return sorted((plain(v, depth + 1) for v in value), key=str)
    if isinstance(value, (list, tuple, array)):
        return [plain(v, depth + 1) for v in value]
    return f"<{type(value).__module__}.{type(value).__qualname__}>"


def _list(key: str, value: Any) -> Any:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{key} must be a list, not {_kind(value)}")
    return value


def _kind(value: Any) -> str:
    # the JSON word of a value's type
    if isinstance(value, Mapping):
        return "an object"
    names: dict[type, str] = {list: "a list", tuple: "a list", type(None): "null", str: "a string"}
    return names.get(type(value), f"a {type(value).__name__}")
