"""The generation of identity: a number that grows with every committed change of who may do what.

What was worked out from users, projects, roles or tokens (the cache of callers) is worth something only as
long as the number stands. It counts for the process: one number too many costs a look into the database.
"""

from polyport.db.engine import Tx


class _Generation:
    def __init__(self) -> None:
        self.number = 0

    def advance(self) -> None:
        self.number += 1


_generation = _Generation()


def identity_changed(tx: Tx) -> None:
    """Say that `tx` changes who may do what."""
    tx.after_commit(_generation.advance)


def generation() -> int:
    """The present number. To be asked on the event loop, where it moves."""
    return _generation.number
