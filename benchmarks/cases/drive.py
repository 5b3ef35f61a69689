"""Runs one case: ``drive.py DIRECTORY STEPS``.  Knows nothing of meminstr."""

import sys

sys.path.insert(0, sys.argv[1])
import workload

workload.setup()
for _ in range(int(sys.argv[2])):
    workload.step()
workload.teardown()
