"""Pure maths on a bounded history: tests, envelopes, shapes and rates.

Numbers in, numbers out: nothing here knows a process, a unit of memory or the word leak.  What the numbers
mean is said in `meminstr.judgement`.  The modules need numpy at import, so they are imported on first use:

- `sequential`: the anytime-valid Mann-Kendall e-value,
- `envelope`: what was never given back, white blocks, excursions, events, drift against a random walk,
- `shapes`: linear or saturating, and since when,
- `rates`: Theil-Sen slope with its interval,
- `surge`: growth that began a moment ago,
- `episode`: all of them put to one history, gate by gate.
"""
