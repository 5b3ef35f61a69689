"""Classes that the holder patterns are built of."""

import collections
import dataclasses


class Held:
    pass


class Box:
    def __init__(self, item=None):
        self.item = item

    def method(self, *args):
        return self.item


class Slotted:
    __slots__ = ("item", "other")


class Bus:
    def __init__(self):
        self._listeners = []


class Event:
    def __init__(self, callback):
        self.callback = callback


@dataclasses.dataclass
class Row:
    value: object


Point = collections.namedtuple("Point", "left right")
