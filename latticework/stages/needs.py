"""What a stage needs of the workers that run it: a pool by name, memory, graphics cards."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from latticework.errors import StageError

FIELDS = ("pool", "memory", "gpus")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a stage needs of a pool of workers.

    Examples
    --------
    >>> Needs.of({"memory": "24 GB", "gpus": 1})
    Needs(pool=None, memory_bytes=24000000000, gpus=1)
    >>> Needs.of("big").pool
    'big'
    """

    pool: str | None = None
    """Name of the pool in which it runs; None: any that has what it needs."""
    memory_bytes: int = 0
    """Memory that a worker must have."""
    gpus: int = 0
    """Graphics cards that a worker must have."""

    @classmethod
    def of(cls, given: Any) -> "Needs":
        """From what a user gave.

        Parameters
        ----------
        given
            Name of a pool, or a mapping of ``pool``, ``memory`` (``"24 GB"`` or bytes) and
            ``gpus``; None for nothing special.

        Raises
        ------
        StageError
            If it makes no sense.
        """
        if given is None:
            return cls()
        if isinstance(given, Needs):
            return given
        if isinstance(given, str):
            return cls(pool=given)
        if not isinstance(given, Mapping):
            raise StageError(
                f"needs={given!r}: give the name of a pool, or a mapping such as "
                '{"memory": "24 GB", "gpus": 1}'
            )
        unknown = sorted(set(given) - set(FIELDS))
        if unknown:
            raise StageError(
                f"needs={dict(given)!r}: there is no {', '.join(map(repr, unknown))}; a stage can "
                f"need {', '.join(FIELDS)}"
            )
        pool, gpus = given.get("pool"), given.get("gpus", 0)
        if not (pool is None or isinstance(pool, str)):
            raise StageError(f"needs: pool={pool!r} is no name of a pool")
        if isinstance(gpus, bool) or not isinstance(gpus, int) or gpus < 0:
            raise StageError(f"needs: gpus={gpus!r} is no number of graphics cards")
        return cls(pool, bytes_of(given.get("memory", 0)), gpus)

    def to_json(self) -> dict[str, Any] | None:
        """As plain values; None where there is nothing special."""
        if self == Needs():
            return None
        return {"pool": self.pool, "memory": self.memory_bytes, "gpus": self.gpus}

    def __str__(self) -> str:
        from dask.utils import format_bytes

        parts = [] if self.pool is None else [f"pool {self.pool!r}"]
        parts += [f"{format_bytes(self.memory_bytes)} of memory"] * bool(self.memory_bytes)
        parts += [f"{self.gpus} graphics card" + "s" * (self.gpus > 1)] * bool(self.gpus)
        return " and ".join(parts) or "nothing special"


def bytes_of(given: Any) -> int:
    """Bytes from a number or a text such as ``"24 GB"`` or ``"16GiB"``.

    Raises
    ------
    StageError
        If it is neither.

    Examples
    --------
    >>> bytes_of("16GiB"), bytes_of(1000)
    (17179869184, 1000)
    """
    from dask.utils import parse_bytes

    try:
        number = parse_bytes(given) if isinstance(given, str) else int(given)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if number < 0 or isinstance(given, bool):
        raise StageError(f"{given!r} is no amount of memory: write it as '24 GB' or '16GiB'")
    return number


__all__ = ["Needs", "bytes_of"]
