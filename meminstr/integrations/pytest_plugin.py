"""The pytest plugin (entry point ``pytest11``); see the marks, the fixture and ``--meminstr``."""
