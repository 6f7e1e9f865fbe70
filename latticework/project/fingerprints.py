"""Fingerprints of what made each unit: code, parameters and the attempts it read; vectorised.

A unit's fingerprint mixes its stage's (`latticework.stages.stage.fingerprint`) with a stamp of
every unit that it read. The stamp of a source tile is its file's; that of a unit is the mix of its
own fingerprint and of the number of the attempt that made it. So a unit is current exactly while
its fingerprint is what would be computed now. The mixing function is splitmix64 (Steele, Lea and
Flood 2014, doi:10.1145/2660193.2660195).
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


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


def salt_of(values: Mapping[str, Any]) -> int:
    """A number for some values; another one for others."""
    text = json.dumps(values, sort_keys=True, default=repr)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def failure_stamps(fingerprint: np.ndarray) -> np.ndarray:
    """What is kept of units that failed: their fingerprint, but never that of a complete unit."""
    return mix(fingerprint ^ np.uint64(0xFA11ED))


def expected(stage: int, n: int, inputs: Iterable["Inputs"]) -> np.ndarray:
    """Fingerprints that `n` units would get if they ran now, uint64.

    Parameters
    ----------
    stage
        Fingerprint of the stage.
    n
        Number of units.
    inputs
        What they read of each parent, in order.
    """
    total = np.full(n, stage, dtype=np.uint64)
    for number, read in enumerate(inputs):
        salt = np.uint64((number + 1) * 0x632BE59BD9B4E019 & 0xFFFFFFFFFFFFFFFF)
        part = mix(read.stamps ^ mix(read.units.astype(np.uint64)) ^ salt)
        if read.which is None:
            total += part.sum(dtype=np.uint64)
        elif read.one_each:
            total += part
        else:
            np.add.at(total, read.which, part)
    return mix(total)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What some units read of one parent."""

    which: np.ndarray | None
    """For each that is read, which of the units reads it; None if every one reads all."""
    units: np.ndarray
    """Units of the parent that are read."""
    stamps: np.ndarray
    """Their stamps."""
    one_each: bool = False
    """Whether each of the units reads exactly one, in order."""
