"""A cluster of several hosts in the test's own process, some of which are not well."""

import dataclasses
import itertools

from tests.project import where as now
from tests.project.running import Done, HereClient


def needs_mount(tile, *, bad_hosts, bad_tiles=()):
    """Fails on hosts that lack what it reads, and at some tiles everywhere."""
    from tests.project import where

    if where.HERE[0] in bad_hosts:
        raise OSError("no such mount")
    if int(tile.attrs["tile_id"]) in bad_tiles:
        raise ValueError("the tile is dark")
    return tile


class HostsClient(HereClient):
    """Gives work to its workers in turn, to those only that are allowed."""

    def __init__(self, hosts=4):
        super().__init__()
        self.addresses = {f"tcp://10.0.0.{k}:1": f"n{k}" for k in range(hosts)}
        self.done, self.restricted = [], []
        self._turn = itertools.count()

    def nthreads(self):
        return dict.fromkeys(self.addresses, 1)

    def submit(self, function, *arguments, workers=None, **options):
        allowed = sorted(self.addresses if workers is None else workers)
        address = allowed[next(self._turn) % len(allowed)]
        now.HERE[0] = self.addresses[address]
        (self.done if workers is None else self.restricted).append(now.HERE[0])
        future = super().submit(function, *arguments, **options)
        report = dataclasses.replace(future.value, worker=address, host=now.HERE[0])
        return Done(report, None)
