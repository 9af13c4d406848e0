"""Seeds: every random draw derives its own from one number and the ids of what it draws."""

import hashlib


def derive(seed: int, *ids: str) -> int:
    """Derive a 63-bit seed from `seed` and ids, the same on every machine and in any job order."""
    text = "\x1f".join([str(seed), *ids])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
