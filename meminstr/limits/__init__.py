"""How a limit on a running call is kept.

`policy` says which limit, `reading` and `guard` see that it is passed, `watcher` sees it while the call runs,
`interrupt` stops the call, `kernel`, `isolated` and `groups` make walls of it, `breach` writes down what happened,
`grants` lets short calls live on one reading and `admission` asks before the call whether there is room.
The decorator users write is in `meminstr.decorators`.
"""
