"""Runs one case: ``drive.py DIRECTORY STEPS``.  Knows nothing of meminstr."""

import sys

import workload  # the directory is on PYTHONPATH

workload.setup()
for _ in range(int(sys.argv[2])):
    workload.step()
workload.teardown()
