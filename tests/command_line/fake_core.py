"""Runs the command line over a core that only counts: what is tested is the command line, not the engine.

Run as a script, with the words of the command line behind it.
"""

import functools
import json
import sys
import types

events = {"tracked": [], "guarded": [], "limited": [], "born": {}, "calls": {}, "every": []}


def track_instantiations(name=None, *, tracker):
    def decorate(cls):
        from meminstr.errors import UsageError

        if not cls.__flags__ & (1 << 9):
            raise UsageError(f"{cls.__name__} is a builtin, which cannot be followed")
        key = name or cls.__qualname__
        events["tracked"].append(key)
        events["born"].setdefault(key, 0)
        original = cls.__init__

        @functools.wraps(original)
        def __init__(self, *args, **kwargs):
            original(self, *args, **kwargs)
            events["born"][key] += 1

        cls.__init__ = __init__
        return cls

    return decorate


def _counted(kind, extra):
    def decorate(obj):
        inner = obj.__func__ if isinstance(obj, (staticmethod, classmethod)) else obj
        events[kind].append([inner.__qualname__, extra])

        @functools.wraps(inner)
        def wrapper(*args, **kwargs):
            events["calls"][inner.__qualname__] = events["calls"].get(inner.__qualname__, 0) + 1
            return inner(*args, **kwargs)

        return type(obj)(wrapper) if inner is not obj else wrapper

    return decorate


class FakeReport:
    def __str__(self):
        return "REPORT " + json.dumps(events)

    def to_json(self, path):
        with open(path, "w") as stream:
            json.dump(events, stream)

    def to_html(self, path):
        with open(path, "w") as stream:
            stream.write("<html>")


def install():
    import meminstr.commands.run  # noqa: F401

    def module(name, **names):
        made = types.ModuleType(name)
        made.__dict__.update(names)
        sys.modules[name] = made

    module(
        "meminstr.decorators",
        track_instantiations=track_instantiations,
        leak_guard=lambda every, tracker: _counted("guarded", every),
        memory_limited=lambda limit, tracker: _counted("limited", limit),
    )
    module("meminstr.registry", tracker=types.SimpleNamespace(max_subjects=0))
    module("meminstr.diagnosis", report=FakeReport)


if __name__ == "__main__":
    install()
    from meminstr.__main__ import main

    sys.exit(main())
