"""From which addresses pages may be used: a page of another site must not open their connection."""

import contextlib
import ipaddress
import socket
from collections.abc import Iterable

import dask

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


def allowed_origins(address: str, port: int) -> list[str]:
    """Hosts, with ports, of pages that may connect to a server.

    Loopback, the address that the server listens on and, where it listens on all, this machine's
    names; further ones (of a proxy, say) as Dask's configuration
    ``latticework.dashboard.allow-origins`` names them.

    Parameters
    ----------
    address
        Where the server listens.
    port
        Its port.

    Examples
    --------
    >>> allowed_origins("127.0.0.1", 8787)
    ['localhost:8787', '127.0.0.1:8787', '[::1]:8787']
    """
    more = dask.config.get("latticework.dashboard.allow-origins", [])
    further = [more] if isinstance(more, str) else list(more)
    hosts = [*LOOPBACK, *_hosts(address)]
    return [*dict.fromkeys(f"{host}:{port}" for host in hosts), *map(_with_port, further)]


def _hosts(address: str) -> Iterable[str]:
    try:
        known = ipaddress.ip_address(address or "0.0.0.0")  # noqa: S104 - compared, not bound
    except ValueError:
        return [address.lower()]
    if known.is_loopback:
        return []
    if not known.is_unspecified:
        return [f"[{known}]" if known.version == 6 else str(known)]
    name = socket.gethostname().lower()
    own = [name, name.split(".")[0]]
    with contextlib.suppress(OSError):
        own += [str(entry[4][0]) for entry in socket.getaddrinfo(name, None, socket.AF_INET)]
    return own


def _with_port(host: str) -> str:
    """A host as the check compares it: a browser leaves the usual ports out."""
    return host if ":" in host.rpartition("]")[2] or host == "*" else f"{host}:80"
