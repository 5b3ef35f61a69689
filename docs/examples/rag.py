"""Retrieval-augmented answers: chunks are embedded and indexed once, questions are answered from the nearest of them.

Every session keeps its conversation so that a follow-up question has a context.  `Session.close` forgets to take the
session out of the table of open ones: the class is said to leak, although each conversation is short.  `--fixed` takes
it out.
"""

import hashlib
import itertools
import random
import sys

import numpy as np

import meminstr

DIMENSIONS = 64
WORDS = "pump valve pressure sensor flow alarm filter tank motor speed torque angle brake hose seal".split()


def embed(text):
    """Words hashed into a vector of unit length (DIMENSIONS,): the place of a model."""
    vector = np.zeros(DIMENSIONS)
    for word in text.split():
        vector[int.from_bytes(hashlib.blake2s(word.encode(), digest_size=4).digest(), "big") % DIMENSIONS] += 1
    return vector / max(1.0, float(np.linalg.norm(vector)))


class Index:
    """Chunks and their embeddings; the nearest by cosine."""

    def __init__(self, documents, size=8):
        words = [document.split() for document in documents]
        self.chunks = [" ".join(text[i : i + size]) for text in words for i in range(0, len(text), size)]
        self.vectors = np.stack([embed(chunk) for chunk in self.chunks])

    def nearest(self, question, count=3):
        """The chunks most like a question."""
        scores = self.vectors @ embed(question)
        return [self.chunks[i] for i in np.argsort(-scores)[:count]]


class Desk:
    """Who is being served."""

    def __init__(self):
        self.open_sessions = {}


desk = Desk()
numbers = itertools.count()


@meminstr.track_instantiations("session", cleanup="close")
class Session:
    """One conversation."""

    def __init__(self, index, fixed):
        self.index, self.fixed, self.number = index, fixed, next(numbers)
        self.history = []
        desk.open_sessions[self.number] = self

    def ask(self, question):
        """The answer: what a language model would be given."""
        context = self.index.nearest(" ".join([*self.history[-2:], question]))
        self.history.append(question)
        return f"{question}: {'; '.join(context)}"

    def close(self):
        """The conversation is over."""
        self.history.clear()
        if self.fixed:
            del desk.open_sessions[self.number]


def main(sessions=1500, fixed=False):
    """Serve short conversations one after the other."""
    draw = random.Random(1)
    index = Index([" ".join(draw.choices(WORDS, k=40)) for _ in range(60)])
    for _ in range(sessions):
        session = Session(index, fixed)
        for _ in range(3):
            session.ask(" ".join(draw.choices(WORDS, k=4)))
        session.close()


if __name__ == "__main__":
    main(fixed="--fixed" in sys.argv)
    print(meminstr.report())
