"""Why it is still alive: objects that outlived their cleanup, what holds them, what grew, where it was born.

Paid for on suspicion or on request, never on the hot path, within a time budget and with an answer that says
when it is partial.  Nothing here decides whether there is a leak: that is for `meminstr.judgement`.

Modules: `expected_dead` (what should be gone), `holders` (who holds it; with `forward`, `backward`, `patterns`,
`naming`, `attributes`, `paths`, `roots`, `safe` below it), `grouping`, `fingerprint`, `retained`, `census` and
`caches` (what grew, what is bounded), `birth_sites` and `reservoir` (where survivors were born), `library`,
`advice` and `baseline` (what to say of it).
"""
