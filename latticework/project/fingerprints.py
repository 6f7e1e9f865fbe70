"""Fingerprints of what made each unit: code, parameters and the attempts it read; vectorised.

A unit's fingerprint mixes its stage's (`latticework.stages.stage.fingerprint`) with a stamp of
every unit that it read. The stamp of a source tile is its file's; that of a unit is the mix of its
own fingerprint and of the number of the attempt that made it. So a unit is current exactly while
its fingerprint is what would be computed now. The mixing function is splitmix64 (Steele, Lea and
Flood 2014, doi:10.1145/2660193.2660195).
"""

from collections.abc import Callable, Sequence

import numpy as np

from latticework.lattice.dependencies import Dependency


def mix(values: np.ndarray) -> np.ndarray:
    """A bijective scrambling of 64-bit integers."""
    z = values.astype(np.uint64, copy=True)
    z += np.uint64(0x9E3779B97F4A7C15)
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def stamps(fingerprint: np.ndarray, published: np.ndarray) -> np.ndarray:
    """Stamps of units: what made them, and which attempt."""
    return mix(fingerprint ^ mix(published.astype(np.uint64)))


def failure_stamps(fingerprint: np.ndarray) -> np.ndarray:
    """What is kept of units that failed: their fingerprint, but never that of a complete unit."""
    return mix(fingerprint ^ np.uint64(0xFA11ED))


def expected(
    stage: int,
    units: np.ndarray,
    edges: Sequence[tuple[Dependency, Callable[[np.ndarray], np.ndarray]]],
) -> np.ndarray:
    """Fingerprints that units would get if they ran now, uint64.

    Parameters
    ----------
    stage
        Fingerprint of the stage.
    units
        Unit ids.
    edges
        For each parent, the dependency and what gives the stamps of some of its units.
    """
    total = np.full(len(units), stage, dtype=np.uint64)
    for number, (dependency, stamps_of) in enumerate(edges):
        which, read = dependency.inputs(units)
        salt = np.uint64((number + 1) * 0x632BE59BD9B4E019 & 0xFFFFFFFFFFFFFFFF)
        part = mix(stamps_of(read) ^ mix(read.astype(np.uint64)) ^ salt)
        if len(which) == len(units):
            total += part
        else:
            np.add.at(total, which, part)
    return mix(total)
