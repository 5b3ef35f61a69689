"""Reports: the record of what was found, and the forms it takes.

`record` holds the facts and reads them back, `files` writes them, `merge` unites the records of many
processes, `wording` makes the sentences, and `text`, `html`, `json` and `compare` put them on paper.  `model`
is the face of it all: the `Report` that users hold.  Nothing here reads the clock, the process or the
tracker, and nothing prints.
"""
