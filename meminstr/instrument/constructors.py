"""The functions that stand in a followed class: generated source, compiled once per method.

What they do for the program: the same call, the same result, the same error, one frame.  What they do for us is
in `meminstr.instrument.classes`, which fills their globals (names in `_mi_`).

Why generated.  Passing ``*args, **kwargs`` on costs as much as half of our bookkeeping; with the original's own
parameters the interpreter's specialised call paths stay in use (a bare wrapper of a two-argument ``__init__``
adds 0.03 us against 0.18 on 3.11.7, about nothing against 0.18 on 3.13.0).  The default values are the
original's own objects.

Why this file name.  `warnings` and `logging` skip frames whose file name contains both ``importlib`` and
``_bootstrap`` when they count a ``stacklevel``, so both blame the true caller, as they did before.  Code that
reads the caller's ``__name__`` from its globals finds the module of the class.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from types import CodeType, FunctionType, MethodWrapperType
from typing import Any

from . import kinds
from .parameters import parameters_of

FRAME_FILE = "<meminstr importlib _bootstrap>"
"""File name of every generated frame: walks over the stack pass over it."""

_CONSTRUCT = """\
def {name}({params}):
    _mi_token = None
    if _mi_armed:
        try:
            _mi_token = _mi_before({subject})
        except _mi_own_errors:
            pass
    try:
{call}
    except BaseException:
        try:
            _mi_failed({subject})
        except _mi_own_errors:
            pass
        raise
    try:
        if _mi_type({made}) is _mi_class or _mi_owns({made}):
{record}
    except _mi_own_errors:
        pass
    return _mi_result
"""

_FOLLOW = """\
            if not _mi_weakrefs({made}) or _mi_fresh({made}):
                _mi_ref = _mi_Ref({made}, _mi_discard)
                _mi_ref.number = _mi_number = _mi_bump()
                _mi_add(_mi_ref)
                if _mi_number >= _mi_arm_at or _mi_token is not None:
                    _mi_after({made}, _mi_number, _mi_token)
"""

_COUNT = """\
            _mi_number = _mi_bump()
            if _mi_number >= _mi_arm_at or _mi_token is not None:
                _mi_after({made}, _mi_number, _mi_token)
"""

# Before the next `__new__` of the MRO.  Where that is object's, its complaints about excess arguments are made
# here: object looks whether the class has a `__new__` of its own, which it now has.
_NEXT_NEW = """\
        _mi_next = super(_mi_home, _mi_cls).__new__
        if (args or kwargs) and _mi_next is _mi_object_new and _mi_direct(_mi_cls):
            if _mi_init_is_objects(_mi_cls):
                raise TypeError(_mi_cls.__name__ + "() takes no arguments")
            _mi_result = _mi_next(_mi_cls)
        else:
            _mi_result = _mi_next(_mi_cls, *args, **kwargs)
"""

_CLEANUP = """\
{prefix}def {name}({params}):
    _mi_result = {wait}{call}
    try:
        _mi_cleaned({subject})
    except _mi_own_errors:
        pass
    return _mi_result
"""


_MOST_POSITIONAL = 8


class Missing:
    """Stands for an argument that was not given; the class itself, which pickles by reference."""


_GENERIC = ("self, /, *args, **kwargs", "*args, **kwargs", "self")


def constructor(original: FunctionType | None, shared: dict[str, Any], *, follow: bool) -> FunctionType:
    """An ``__init__`` that stands before `original`, or before the next one of the MRO when that is None."""
    params, passed, subject = _parameters(original)
    inherited = kinds.lookup(shared["_mi_home"], "__init__")
    missing = 0
    if original:
        shared["_mi_init"] = original
        call = f"        _mi_result = _mi_init({subject}, {passed})"
    else:
        params, call, missing = _before_the_next(inherited)
        shared["_mi_missing"] = Missing
    source = _construct("__init__", params, subject, subject, call, follow)
    made = _compiled(source, "__init__", original, shared, inherited)
    if missing:
        made.__defaults__ = (Missing,) * missing
        with contextlib.suppress(TypeError, ValueError):
            made.__dict__["__signature__"] = inspect.signature(inherited)
    return made


def _before_the_next(inherited: Any) -> tuple[str, str, int]:
    """Parameters and call of an ``__init__`` before the next of the MRO, and how many parameters may be missing.

    Which one is next depends on the instance's class, so any arguments must be taken, and passed on as they came.
    Positional ones in the number that the inherited one takes now go through parameters of their own, which is
    cheaper than a tuple: of what a do-nothing wrapt ``__init__`` adds 0.81 instead of 0.92 on 3.11.7, and 0.63 instead
    of 0.87 on 3.12.1, where ``super`` by its own name makes no object.
    """
    following = "super(_mi_home, self).__init__"
    found = parameters_of(inspect.unwrap(inherited)) if isinstance(inherited, FunctionType) else None
    names = [f"_mi_{number}" for number in range(1, len(found.names))] if found is not None else []
    if not names or len(names) > _MOST_POSITIONAL:
        return _GENERIC[0], f"        _mi_result = {following}(*args, **kwargs)", 0
    lines = [
        "        if _mi_more or _mi_named:",
        f"            _mi_args = [_mi_one for _mi_one in ({', '.join(names)},) if _mi_one is not _mi_missing]",
        f"            _mi_result = {following}(*_mi_args, *_mi_more, **_mi_named)",
    ]
    for count in range(len(names), 0, -1):
        given = ", ".join(names[:count])
        lines += [
            f"        elif {names[count - 1]} is not _mi_missing:",
            f"            _mi_result = {following}({given})",
        ]
    lines += ["        else:", f"            _mi_result = {following}()"]
    taken = ", ".join(f"{name}=None" for name in names)
    return f"self, {taken}, /, *_mi_more, **_mi_named", "\n".join(lines), len(names)


def maker(original: FunctionType | None, shared: dict[str, Any], *, follow: bool) -> FunctionType:
    """A ``__new__`` (the bare function) before `original`, or before the next one of the MRO."""
    if original:
        params, passed, subject = _parameters(original)
        shared["_mi_new"] = original
        call = f"        _mi_result = _mi_new({subject}, {passed})"
    else:
        params, call, subject = "_mi_cls, /, *args, **kwargs", _NEXT_NEW.rstrip(), "_mi_cls"
    source = _construct("__new__", params, subject, "_mi_result", call, follow)
    return _compiled(source, "__new__", original, shared)


def is_maker(value: Any) -> bool:
    """Whether a raw ``__new__`` is one that `maker` made to stand before the next one of the MRO."""
    function = getattr(value, "__self__", None) if type(value) is MethodWrapperType else None
    return type(function) is FunctionType and function.__code__.co_filename == FRAME_FILE


def cleaner(name: str, original: FunctionType | None, inherited: Any, shared: dict[str, Any]) -> FunctionType:
    """A cleanup method before `original`, or before the next one of the MRO; a coroutine stays one."""
    params, passed, subject = _parameters(original)
    slot = f"_mi_cleanup_{name}"
    if original:
        shared[slot] = original
        call = f"{slot}({subject}, {passed})"
    else:
        call = f"super(_mi_home, self).{name}({passed})"
    awaits = inspect.iscoroutinefunction(original or inherited)
    source = _CLEANUP.format(
        prefix="async " if awaits else "", name=name, params=params, wait="await " if awaits else "",
        call=call, subject=subject,
    )  # fmt: skip
    return _compiled(source, name, original, shared, inherited)


def _construct(name: str, params: str, subject: str, made: str, call: str, follow: bool) -> str:
    record = (_FOLLOW if follow else _COUNT).format(made=made).rstrip()
    return _CONSTRUCT.format(name=name, params=params, subject=subject, made=made, call=call, record=record)


def _compiled(
    source: str, name: str, original: FunctionType | None, shared: dict[str, Any], inherited: Any = None
) -> FunctionType:
    scratch: dict[str, Any] = {}
    exec(compile(source, FRAME_FILE, "exec", dont_inherit=True), scratch)
    model = original or inherited
    code: CodeType = scratch[name].__code__
    qualname = getattr(model, "__qualname__", None) or f"{shared['_mi_home'].__qualname__}.{name}"
    code = code.replace(co_qualname=qualname)
    function = FunctionType(code, shared, name)
    if isinstance(model, FunctionType):
        functools.update_wrapper(function, model)
    else:
        function.__module__ = shared["__name__"]
        function.__qualname__ = qualname
        if model is not None:
            function.__doc__ = model.__doc__
    if original:
        function.__defaults__ = original.__defaults__
        function.__kwdefaults__ = original.__kwdefaults__
    return function


def _parameters(original: FunctionType | None) -> tuple[str, str, str]:
    """The parameter list, what is passed on after the first, and the first's name."""
    found = None if original is None else parameters_of(original)
    if found is None or not found.names:
        return _GENERIC
    return found.shown, ", ".join(found.passed[1:]), found.names[0]
