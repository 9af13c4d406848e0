"""What a record repeats of earlier ones: the whole answer, a name, most of its own words."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from datasketch import LeanMinHash, MinHash, MinHashLSH

from diffuselm.measure.metrics import words
from diffuselm.tasks.records import Records

ALIKE = 0.8  # share of the three-word runs of two texts that both have (Jaccard), from which on
RUN = 3  # words
# Hashes of a text, as bands of rows: an earlier text is compared where a band agrees, as it does
# for 99% of pairs that are 0.9 alike and for all that are the same.
BANDS, ROWS = 8, 8


class Seen:
    """The texts, names and hashes of the records so far; its memory grows by each record."""

    def __init__(self, records: Records) -> None:
        self.records = records
        self.texts: set[bytes] = set()
        self.names: dict[str, set[str]] = {name: set() for name in records.named}
        self.hashed: list[LeanMinHash] = []
        self.index = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS))

    def marks(self, row: Mapping[str, Any]) -> dict[str, bool]:
        """What a record repeats; from now on it is one of the earlier ones."""
        digest = hashlib.blake2b(row["answer"].encode(), digest_size=16).digest()
        found = {"duplicate": digest in self.texts, "near_duplicate": False}
        self.texts.add(digest)
        for name, earlier in self.names.items():
            found[f"repeated_{name}"] = row["valid"] and row[name] in earlier
            earlier.update([row[name]] if row["valid"] else ())
        if row["valid"]:
            own = (column for name in self.records.free for column in self.records.columns_of(name))
            free = " ".join(str(row[column]) for column in own)
            found["near_duplicate"] = self._is_like_another(words(free))
        return found

    def _is_like_another(self, said: list[str]) -> bool:
        hashes = MinHash(num_perm=BANDS * ROWS)
        hashes.update_batch(" ".join(run).encode() for run in _runs(said))
        own = LeanMinHash(hashes)
        alike = any(self.hashed[at].jaccard(own) >= ALIKE for at in self.index.query(own))
        if not alike:  # else the earlier one stands for both
            self.index.insert(len(self.hashed), own)
            self.hashed.append(own)
        return alike


def _runs(said: list[str]) -> Iterable[list[str]]:
    """Three words after another; of fewer words, all."""
    return (said[at : at + RUN] for at in range(max(1, len(said) - RUN + 1)))
