"""The reason of a judgement in one human sentence, from the numbers of an episode.

Each sentence names the gate that decided, by the name it bears in `SignalJudgement.gates`, and gives the figures a
reader would ask for next.  Nothing is decided here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .policy import Policy, Signal
from .series import SeriesView
from .units import format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from .trend.episode import Episode, Settled
    from .trend.surge import Surge

_ENDINGS = {
    "exponential": ("levels off", "level off"),
    "power": ("slows down as a power", "slow down as a power"),
    "logarithm": ("slows down as a logarithm", "slow down as a logarithm"),
}
_NAMES = {
    "blocks": "Python memory blocks",
    "heap": "the C heap",
    "resident": "resident memory",
    "mapped": "memory mapped outside the C heap",
    "live": "instances alive",
    "retained": "instances alive after cleanup",
    "descriptors": "open descriptors",
    "threads": "threads",
    "tasks": "asyncio tasks",
}
_COUNTED = frozenset(("blocks", "live", "retained", "descriptors", "threads", "tasks"))
_LN10 = math.log(10)


def named(signal: Signal) -> str:
    """A signal in words: ``instances alive after cleanup``; the name itself of a probe of the user's."""
    return _NAMES.get(signal.name, signal.name)


def quantity(value: float, signal: Signal) -> str:
    """``1.5 MiB``, and of what `named` says in the plural the number alone: ``863``."""
    return (
        format_count(round(value) if abs(value) >= 10 else value)
        if signal.name in _COUNTED
        else amount(value, signal.unit)
    )


def _verb(signal: Signal, singular: str, plural: str) -> str:
    return plural if signal.name in _COUNTED else singular


def amount(value: float, unit: str) -> str:
    """``1.5 MiB`` for bytes, ``12,000 blocks`` for counts."""
    if unit in ("byte", "bytes"):
        return format_bytes(value)
    text = format_count(round(value) if abs(value) >= 10 else value)
    return f"{text} {unit}" if text == "1" or unit.endswith("s") else f"{text} {unit}s"


def distance(x: float, policy: Policy) -> str:
    """``5,000 calls`` or ``10 min``."""
    if policy.x_unit == "second":
        return format_duration(x)
    return f"{format_count(round(x))} {policy.x_unit}" + ("" if round(x) == 1 else "s")


def position(x: float, policy: Policy) -> str:
    """``call 3,000``, ``the first call`` or ``42 s into the run``."""
    if policy.x_unit == "second":
        return f"{format_duration(x)} into the run" if x > 0 else "the start"
    return f"{policy.x_unit} {format_count(round(x))}" if round(x) > 1 else f"the first {policy.x_unit}"


def few(view: SeriesView, policy: Policy) -> str:
    """Too little to judge, with why, when the history had to begin anew."""
    text = f"{view.samples} sample{'' if view.samples == 1 else 's'} so far, {len(view)} of the 16 slots needed"
    if view.restarts:
        text += f"; the history began anew because the {policy.x_unit} count went back"
    elif view.refused:
        text += f"; {view.refused} refused, not finite or going back"
    return text


def bound(excluded: float | None, signal: Signal, policy: Policy) -> str:
    """The smallest steady growth that is excluded."""
    if excluded is None:
        return "no rate is excluded yet"
    # per thousand calls, as small rates read better; of process time, per what was seen at least once
    factor, per = _per_time(signal.view) if policy.x_unit == "second" else (1000.0, f"1,000 {policy.x_unit}s")
    return f"more than {amount(excluded * factor, signal.unit)} per {per} excluded at 99 %"


def _per_time(view: SeriesView) -> tuple[float, str]:
    seen = float(view.x[-1] - view.x[0]) if len(view) else 0.0
    return (3600.0, "hour") if seen >= 3600 else (60.0, "minute") if seen >= 60 else (1.0, "second")


def settled(once: Settled, signal: Signal, policy: Policy, end_x: float) -> str:
    """The one-time growth, and since when it is flat."""
    until, has = position(once.until_x, policy), _verb(signal, "has", "have")
    return (
        f"settled: {named(signal)} grew once, by {quantity(once.amount, signal)} until {until}, "
        f"and {has} been flat for {distance(end_x - once.until_x, policy)} since"
    )


def varying(signal: Signal) -> str:
    """A history too rough for what is looked for."""
    return f"{named(signal)} {_verb(signal, 'varies', 'vary')} by more than the growth looked for"


def steady(episode: Episode, signal: Signal, policy: Policy) -> str:
    """Growth that passed every gate, or every gate but the horizon."""
    what = f"{named(signal)} grew steadily by {quantity(episode.growth, signal)}"
    since = f"since {position(episode.onset_x or 0.0, policy)}"
    sure = f"without a trend the odds of this are below 1e-{int(episode.log_e / _LN10)}"
    if "horizon" in episode.failed:
        return (
            f"{what} {since}, {distance(episode.persisted_x, policy)} of the horizon of "
            f"{distance(policy.horizon_of(signal.name), policy)}; {sure}"
        )
    if "pace" in episode.failed:
        return f"{what} {since}, but it may be slowing down: the earlier pace is not sure to be kept (pace)"
    if "material" in episode.failed:
        return f"{what} {since}, too little yet to be called a leak (material); {sure}"
    if episode.short_horizon:
        days = format_duration(episode.persisted_seconds)
        return f"{what} {since}, over {days} (it runs rarely: horizon by days); {sure}"
    return f"{what} {since}, past the horizon of {distance(policy.horizon_of(signal.name), policy)}; {sure}"


def surging(surge: Surge, signal: Signal, policy: Policy) -> str:
    """Growth that began a moment ago."""
    return (
        f"{named(signal)} {_verb(signal, 'has', 'have')} risen by {quantity(surge.growth, signal)} "
        f"since {position(surge.onset_x, policy)}, "
        f"above all of its history; the horizon of {distance(policy.horizon_of(signal.name), policy)} has just begun"
    )


def held(episode: Episode, signal: Signal, policy: Policy) -> str:
    """Growth that a gate explains."""
    grew = f"{named(signal)} grew by {quantity(episode.growth, signal)}"
    has = _verb(signal, "has", "have")
    gate = next((g for g in episode.failed if g not in ("horizon", "material")), "horizon")
    if gate == "shape":
        if episode.shape.name == "step":
            return f"recent step: {grew} at once (shape: step)"
        if episode.shape.name == "flat":
            return f"{grew} and {_verb(signal, 'shows', 'show')} no trend now (shape: flat)"
        return f"saturating: {grew} and {_verb(signal, *_ENDINGS[episode.shape.name])} (shape: {episode.shape.name})"
    if gate == "given-back":
        return (
            f"{grew}, but {has} given back growth of {quantity(episode.excursion.amplitude, signal)} "
            f"after up to {distance(episode.excursion.length_x, policy)} before (given-back)"
        )
    reasons = {
        "events": f"{grew} in {episode.steps.number} steps, "
        f"the largest {episode.steps.largest_share:.0%} of it (events)",
        "stalled": f"{grew} and {has} slowed to a stall (stalled)",
        "random-walk": f"{grew}, no more than such a history may wander by chance (random-walk)",
        "late-rate": f"{grew}, but the later half need not be growing (late-rate)",
        "late-evidence": f"{grew}, but the latest part alone is not evidence yet (late-evidence)",
        "evidence": f"{grew}, too irregularly to tell growth from chance (evidence)",
    }
    return reasons.get(gate, f"{grew} ({gate})")
