"""States of a unit of work: one stage on one tile."""

from enum import IntEnum


class State(IntEnum):
    """State of one stage on one tile, with the numbers that MouseLight's users know.

    ::

        absent   waiting ──> queued ──> running ──> complete ──> stale
                    │ ^         │          │                       │
                    v │         └──────────┼──> cancelled          └──> (waiting)
                  blocked                  └──> failed

    `BLOCKED` and `STALE` are ours: blocked by an input that failed or was cancelled,
    and complete once, but made from an input, a parameter or code that has changed since.

    Examples
    --------
    >>> State.FAILED, int(State.FAILED), State.FAILED.label
    (<State.FAILED: 5>, 5, 'failed')
    """

    ABSENT = 0
    """There is no such unit: a hole of the lattice, or a tile that was withdrawn."""
    WAITING = 1
    """Waits for what it reads, or for its turn."""
    QUEUED = 2
    """Sent to the workers."""
    RUNNING = 3
    """A worker computes it."""
    COMPLETE = 4
    """Its output is published and current."""
    FAILED = 5
    """All its attempts failed."""
    CANCELLED = 6
    """A user said that it should not run."""
    BLOCKED = 7
    """Something that it reads failed, was cancelled or is blocked itself."""
    STALE = 8
    """Complete, but what made it has changed; it will run again."""

    @property
    def label(self) -> str:
        """The state in small letters, as people read it."""
        return self.name.lower()


ACTIVE = (State.QUEUED, State.RUNNING)
"""States of units that are out of the coordinator's hands."""

OPEN = (State.WAITING, State.STALE)
"""States of units that run as soon as what they read is complete."""

BROKEN = (State.FAILED, State.CANCELLED, State.BLOCKED)
"""States that block whatever reads the unit."""
