"""``meminstr demo``: a real closed loop with one warm-up and one leak, instrumented, judged and explained.

The program that is watched lives in `pendulum` and knows nothing of this; what is here decorates its four
controller classes for the time of the run, shows progress, prints the report and says how to read it.
`run_demo` prints nothing and can be called from a test with any tracker, or with none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MeminstrError, UsageError
from ..settings import current
from ..units import format_bytes
from ..verdict import Finding, Verdict

EVALUATIONS = 700
"""Constructions of each class in the full demonstration."""
QUICK_EVALUATIONS = 540
"""Constructions of each class with ``--quick``: still above the 500 that judging a class needs."""
QUICK_SECONDS = 0.4
"""Simulated seconds per evaluation with ``--quick``."""
SEED = 2026

EXPECTED = {
    "classical": Verdict.CLEAN,
    "super_twisting": Verdict.CLEAN,
    "adaptive": Verdict.LEAKING,
    "hybrid_adaptive": Verdict.CLEAN,
}

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """What the gain search of one class came to."""

    name: str
    constructions: int
    first_cost: float
    """Best cost of the random swarm the search began with."""
    best_cost: float
    best_gains: tuple[float, ...]


def run_demo(
    *,
    evaluations: int = EVALUATIONS,
    seed: int = SEED,
    duration_s: float | None = None,
    progress: Progress | None = None,
    tracker: Any = None,
    track: Callable[..., Any] | None = None,
) -> tuple[SearchOutcome, ...]:
    """Search the gains of the four controllers, one class after the other.

    The leaked controllers stay on the bus afterwards, so that a report can still find who holds them;
    `forget_demo` lets them go, and the next run begins by doing so.

    Args:
        evaluations: constructions of each class.
        seed: of the swarms; equal seeds give equal outcomes.
        duration_s: simulated seconds per evaluation; the setup's own by default.
        progress: called with evaluations done, evaluations in all, and the class at work.
        tracker: handed to `track`.
        track: the decorator factory, called as ``track(name, tracker=tracker)(controller_class)``; it may
            patch the class in place, and undoing that is the caller's matter.  None tracks nothing.
    """
    from .pendulum import controllers, loop

    forget_demo()
    setup = loop.Setup() if duration_s is None else loop.Setup(duration_s=duration_s)
    classes = {
        "classical": controllers.ClassicalSMC,
        "super_twisting": controllers.SuperTwistingSMC,
        "adaptive": controllers.AdaptiveSMC,
        "hybrid_adaptive": controllers.HybridAdaptiveSMC,
    }
    if track is not None:
        classes = {name: track(name, tracker=tracker)(each) for name, each in classes.items()}
    total = evaluations * len(classes)
    outcomes: list[SearchOutcome] = []
    done = 0
    for name, controller_class in classes.items():

        def step(name: str = name) -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(done, total, name)

        found = loop.search_gains(controller_class, evaluations=evaluations, seed=seed, setup=setup, after_each=step)
        outcomes.append(SearchOutcome(name, found.evaluations, found.first_cost, found.best_cost, found.best))
    return tuple(outcomes)


def forget_demo() -> None:
    """Empty the bus and the table: what a run left behind, wanted and unwanted, is released."""
    from .pendulum import controllers
    from .pendulum.bus import BUS

    BUS.clear()
    controllers.TABLE.clear()


def add_parser(subparsers: Any) -> argparse.ArgumentParser:
    """Add ``demo`` and its options to the sub-commands; `main` takes the parsed arguments."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "demo",
        help="watch a real closed loop with a warm-up and a leak: about 20 seconds",
        description="Tunes four controllers of a double inverted pendulum, building a new one for every"
        f" trial ({4 * EVALUATIONS:,} in all), and reports on their memory. One pays a large one-time"
        " warm-up, one leaks, two are clean.",
        epilog="Exit code: 0 when the report says what it should, 1 when it does not, 2 for a bad option.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"fewer and shorter trials ({4 * QUICK_EVALUATIONS:,} constructions in a few seconds)",
    )
    parser.add_argument(
        "--seed", type=_seed, default=SEED, metavar="N", help=f"of the searches, 0 or more (default {SEED})"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON and nothing else")
    parser.add_argument("--report", metavar="OUT.json", help="write the report as JSON to this file, too")
    parser.add_argument("--plain", action="store_true", help="no progress bar, even on a terminal")
    parser.set_defaults(main=main)
    return parser


def main(args: argparse.Namespace) -> int:
    """Run the demonstration as the parsed options say.

    Returns:
        0 when all four verdicts are the expected ones, 1 when not, 2 when the report's file cannot be
        written (its text is on standard output all the same), 130 when interrupted.

    Raises:
        UsageError: a run that would be for nothing, found before twenty seconds are spent on it.
    """
    _refuse_pointless(args)
    evaluations = QUICK_EVALUATIONS if args.quick else EVALUATIONS
    quiet = bool(args.json)
    if not quiet:
        print(introduction(evaluations, quick=args.quick), flush=True)
    from ..decorators import track_instantiations
    from ..diagnosis import report
    from ..registry import ControllerMemoryTracker
    from .pendulum.progress import ProgressBar

    forget_demo()  # imports the program, and numpy with it, before the tracker takes its first reading
    bar = ProgressBar(sys.stderr) if not (quiet or args.plain) and sys.stderr.isatty() else None
    tracker = ControllerMemoryTracker()
    try:
        outcomes = run_demo(
            evaluations=evaluations,
            seed=args.seed,
            duration_s=QUICK_SECONDS if args.quick else None,
            progress=bar,
            tracker=tracker,
            track=track_instantiations,
        )
        if bar is not None:
            bar.close()
        result = report(tracker=tracker)
    except KeyboardInterrupt:
        if bar is not None:
            bar.close()
        print("meminstr demo: interrupted, no report", file=sys.stderr)
        return 130
    finally:
        tracker.uninstall()
        forget_demo()
    if quiet:
        print(json.dumps(result.to_dict(), indent=2, ensure_ascii=False))
    else:
        print(search_summary(outcomes))
        print(str(result))
        print(explanation(result.findings))
    if args.report is not None:
        try:
            result.to_json(args.report)
        except (OSError, MeminstrError) as error:
            print(f"meminstr demo: {error}", file=sys.stderr)
            return 2
    return 1 if surprises(result.findings) else 0


def introduction(evaluations: int, *, quick: bool) -> str:
    """What runs and what to look for, before it runs."""
    return f"""\
A double inverted pendulum on a cart is held upright by four sliding-mode controllers. A particle
swarm searches the gains of each and builds a new controller for every trial: 4 x {evaluations:,} = \
{4 * evaluations:,}
constructions, in {"a few" if quick else "about 20"} seconds. The classes are decorated with \
@track_instantiations.
What to look for:
  super_twisting   computes a table of 13.6 MiB in its first 100 constructions: much, but only once
  adaptive         subscribes to a telemetry bus, and its cleanup() forgets to unsubscribe
  classical, hybrid_adaptive   let go of everything they took
"""


def search_summary(outcomes: Iterable[SearchOutcome]) -> str:
    """What the searches found: proof that the loop was closed."""
    lines = ["Gain search (cost of the best controller, first swarm -> end):"]
    lines += [
        f"  {o.name:<16} {o.first_cost:8.3f} -> {o.best_cost:.3f}   {o.constructions:,} constructions" for o in outcomes
    ]
    return "\n".join(lines) + "\n"


def surprises(findings: Sequence[Finding]) -> list[str]:
    """How the findings differ from what this program is known to do; empty when they do not."""
    found = {finding.subject: finding for finding in findings if finding.subject_kind == "class"}
    wrong: list[str] = []
    for name, verdict in EXPECTED.items():
        finding = found.get(name)
        if finding is None:
            wrong.append(f"{name}: not in the report")
        elif finding.verdict is not verdict:
            wrong.append(f"{name}: {finding.verdict} ({finding.reason}), expected {verdict}")
        elif name == "super_twisting" and not finding.reason.startswith("settled"):
            wrong.append(f"{name}: clean, but its one-time growth was not seen ({finding.reason})")
    return wrong


def explanation(findings: Sequence[Finding]) -> str:
    """How to read the report, with the figures of this run and the line that is missing."""
    wrong = surprises(findings)
    if wrong:
        return "This report is not what the demonstration should show:\n  " + "\n  ".join(wrong)
    found = {finding.subject: finding for finding in findings if finding.subject_kind == "class"}
    file, line = leaking_line()
    return f"""
How to read it:
  {_settled(found["super_twisting"])}
  {_leaked(found["adaptive"])}
  The bus that holds them is named above. What is missing stands, in HybridAdaptiveSMC, in the same
  place: at the end of AdaptiveSMC.cleanup() ({file}:{line})
      self.bus.unsubscribe(self.on_sample)"""


def leaking_line() -> tuple[str, int]:
    """File, relative to the package's parent, and last line of the `cleanup` that forgets its listener."""
    from .pendulum.controllers import AdaptiveSMC

    code = AdaptiveSMC.cleanup.__code__
    root = Path(__file__).parents[2]
    last = max(line for _, _, line in code.co_lines() if line is not None)
    return Path(code.co_filename).relative_to(root).as_posix(), last


def _settled(finding: Finding) -> str:
    once = finding.one_time_growth
    figures = f"{format_bytes(once.bytes)} by construction {once.until_call:,}" if once else "its table"
    return (
        f"super_twisting is clean: it took {figures}, estimated from sampled\n"
        "  constructions, and has been flat since. Growth divided by constructions would have accused it."
    )


def _leaked(finding: Finding) -> str:
    counts = finding.counts
    alive = f"{counts.retained:,} of {counts.constructed:,} controllers" if counts else "its controllers"
    return f"adaptive is leaking: {alive} are still alive after their cleanup()."


def _seed(text: str) -> int:
    try:
        seed = int(text)
    except ValueError:
        seed = -1
    if seed < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a seed: a whole number from 0 is allowed")
    return seed


def _refuse_pointless(args: argparse.Namespace) -> None:
    if args.report is not None:
        path = Path(args.report)
        if path.is_dir() or not path.parent.is_dir():
            raise UsageError(f"demo: --report {args.report}: a file name in an existing, writable directory is allowed")
    if not current().enabled:
        raise UsageError("demo: meminstr is switched off (MEMINSTR_DISABLED), so that nothing would be recorded")
