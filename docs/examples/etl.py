"""A nightly job that loads orders in batches, and remembers every reference it has seen "to skip duplicates".

The set of seen references belongs to one run; here it lives in the module and is never emptied, so that a worker that
handles one file after another grows with each batch.  `--fixed` gives each file its own.
"""

import csv
import io
import random
import sqlite3
import sys

import meminstr

seen_references = set()


def extract(file_number, rows, draw):
    """One file as a supplier would send it: some rows twice, some broken."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["reference", "customer", "amount"])
    for row in range(rows):
        reference = f"{file_number:06d}-{row % (rows - 3):04d}"
        writer.writerow([reference, draw.randrange(500), "n/a" if row % 97 == 0 else f"{draw.random() * 100:.2f}"])
    return out.getvalue()


@meminstr.leak_guard(every=10, horizon=400)
def load(text, database, seen):
    """Transform and load one file; says how many rows were taken and left."""
    taken = left = 0
    for row in csv.DictReader(io.StringIO(text)):
        try:
            amount = round(float(row["amount"]) * 100)
        except ValueError:
            left += 1
            continue
        if row["reference"] in seen:
            left += 1
            continue
        seen.add(row["reference"])
        database.execute("insert into totals values (?, ?)", (int(row["customer"]), amount))
        taken += 1
    database.execute("delete from totals where rowid <= (select max(rowid) from totals) - 1000")
    return taken, left


def main(files=800, rows=20, fixed=False):
    """Load many small files into a table that keeps its latest thousand rows."""
    draw = random.Random(1)
    database = sqlite3.connect(":memory:")
    database.execute("create table totals (customer integer, amount integer)")
    for number in range(files):
        load(extract(number, rows, draw), database, set() if fixed else seen_references)


if __name__ == "__main__":
    main(fixed="--fixed" in sys.argv)
    print(meminstr.report())
