"""The program that ``meminstr demo`` instruments: a double inverted pendulum and four controllers.

An ordinary program that happens to live here, and that knows nothing of meminstr: `dynamics` moves the
plant, `surface` and `controllers` drive it, `swarm` and `loop` search for gains, `bus` and `reaching` are
where the memory goes.  Instrumenting it and telling its user what to see is the matter of
`meminstr.commands.demo`.  Imports numpy, so nothing imports this package before a demonstration is asked
for.
"""
