"""How calls and constructions are seen: wrappers of functions, patches of classes, instrumentation by name.

Nothing here reads memory or keeps histories: an event is counted, and now and then an observer is told.
"""
