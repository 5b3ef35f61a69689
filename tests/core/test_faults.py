"""Faults of ours: counted, logged once each, bounded, never raised."""

import logging

from meminstr.faults import clear_faults, faults, note_fault


def test_counted_and_logged_once(caplog):
    with caplog.at_level(logging.WARNING, logger="meminstr"):
        for _ in range(5):
            note_fault("probe heap", OSError("gone"))
    assert len(caplog.records) == 1
    assert faults() == [{"where": "probe heap", "error": "OSError", "message": "gone", "count": 5}]


def test_kinds_are_bounded():
    for i in range(200):
        note_fault(f"place {i}", ValueError("x"))
    rows = faults()
    assert len(rows) == 51
    assert rows[0]["where"] == "other faults"
    assert rows[0]["count"] == 150
    clear_faults()
    assert faults() == []


def test_a_broken_log_handler_does_not_come_through():
    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("handler")

    handler = Broken()
    logger = logging.getLogger("meminstr")
    logger.addHandler(handler)
    try:
        note_fault("somewhere", ValueError("x"))
    finally:
        logger.removeHandler(handler)
    assert faults()[0]["count"] == 1


def test_an_error_without_words_is_noted():
    class Mute(Exception):
        def __str__(self):
            raise RuntimeError("no words")

    note_fault("mute", Mute())  # must not raise
