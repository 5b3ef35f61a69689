"""One small file a process, rewritten every few seconds: how many processes, hosts and lives become one report.

    meminstr.write_shards("shards")    or  MEMINSTR_SHARDS=shards  for any program that uses meminstr
    meminstr merge shards              one report; what a killed process last said stands in it

`format` is the record, `room` the black box's arithmetic, `writing` the thread, `lifecycle` forks and exits, `tidying`
keeps a folder bounded, `reading` and `merging` are the other end.  For readers: `ShardReader(directory).read()` gives a
`ShardSet`; `status(shard)` says whether its process runs.
"""

from __future__ import annotations

from .format import BlackBox, Shard
from .lifecycle import stop_writing, write_shards
from .merging import last_words, merged, merged_set
from .reading import ShardReader, ShardSet, Skipped, read_shards, status

__all__ = [
    "BlackBox",
    "Shard",
    "ShardReader",
    "ShardSet",
    "Skipped",
    "last_words",
    "merged",
    "merged_set",
    "read_shards",
    "status",
    "stop_writing",
    "write_shards",
]
