"""Tasks of a small ETL job, for the cluster's tests: one kind of three keeps what it should hand on."""

import os

seen = []


def helper(n):
    return n + 1


def load(n):
    rows = [(n, i) for i in range(300)]
    return helper(len(rows))


def score(n):
    seen.append([f"row {n} {i}" for i in range(400)])
    return n * 2


def store(n):
    return str(n)


def pid(n):
    return os.getpid()
