"""A view: what `latticework.Project.view` returns."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from latticework.viz.html import escaped
from latticework.viz.neuroglancer.layers import Layer, unique_keys, unique_names
from latticework.viz.neuroglancer.resources import Client, Text, ViewError
from latticework.viz.neuroglancer.server import DataServer, shared_server
from latticework.viz.neuroglancer.states import rebased, state_of

if TYPE_CHECKING:
    from latticework.io.precomputed import Precomputed

HEIGHT_PX = 640
"""Of the viewer in a notebook."""

_numbers = iter(range(1, 1 << 62))
_lock = threading.Lock()


class View:
    """Neuroglancer with some layers, served by this process.

    In a notebook it shows itself. Elsewhere open `url` in a browser. It is there until `close`,
    until this process ends, or until nobody looked for some hours; then asking for `url` opens it
    again.

    Parameters
    ----------
    layers
        What it shows.
    layout
        See `latticework.Project.view`.
    state
        Of a view with the same layers, as `share` wrote it.
    idle_s
        Seconds after which servers that nobody uses close.
    notes
        What a person should know.
    problems
        Tiles that could not be read, by name of the stage and id; grows while one looks.

    Examples
    --------
    >>> import numpy as np
    >>> import latticework as lw
    >>> with lw.view({"noise": np.ones((4, 64, 64), "u1")}) as view:
    ...     print(view)
    <View of noise>
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        layout: str = "auto",
        state: Any = None,
        idle_s: float | None = None,
        notes: Sequence[str] = (),
        problems: dict[str, dict[int, str]] | None = None,
    ) -> None:
        self.layers = tuple(unique_keys(unique_names(layers)))
        self.notes = tuple(dict.fromkeys(notes))
        self.problems = {} if problems is None else problems
        self.closed = False
        self._layout = layout
        self._given = _loaded(state)
        with _lock:
            self._name = str(next(_numbers))
        self._server: DataServer | None = None
        state_of(self.layers, "http://127.0.0.1/", self._name, layout=layout)  # or an error, early
        self._client = Client()
        self._serve(idle_s)

    def _serve(self, idle_s: float | None = None) -> DataServer:
        """The server, with everything that this view shows."""
        if self.closed:
            raise ViewError("this view is closed: make a new one")
        server = shared_server(idle_s=idle_s)
        if server is not self._server:
            server.add("v", "viewer", self._client)
            for layer in self.layers:
                for source in layer.sources:
                    server.add_below("d", self._name, source.key, source.resource)
            self._server = server
            server.add("s", self._name, Text(json.dumps(self.state).encode()))
        return server

    # ---------------------------------------------------------------- addresses

    @property
    def url(self) -> str:
        """Address of the viewer with this view; holds for this computer."""
        base = self._serve().base
        return f"{base}v/viewer/#!{base}s/{self._name}"

    @property
    def state(self) -> dict[str, Any]:
        """What Neuroglancer is told to show: layers, place, layout; as it opens."""
        base = self._serve().base
        if self._given is not None:
            return dict(rebased(self._given, base, self._name))
        return state_of(self.layers, base, self._name, layout=self._layout)

    def share(self, path: Path | str | None = None, *, client: str | None = None) -> str:
        """An address that has the whole state in it.

        Parameters
        ----------
        path
            Where the state is written to as JSON; ``view(..., state=path)`` shows it again.
        client
            Address of another Neuroglancer, such as one of your institute. It can read the data
            only if ``serve_with(origins=[...])`` names it.

        Returns
        -------
        str
            The address. It holds as long as this view is served.
        """
        state = self.state
        if path is not None:
            Path(path).write_text(json.dumps(state, indent=1), encoding="utf-8")
        there = f"{self._serve().base}v/viewer/" if client is None else client
        text = json.dumps(state, separators=(",", ":"))
        return f"{there}#!{quote(text, safe='~@$&()*!+=:;,./?')}"

    # ---------------------------------------------------------------- elsewhere

    def to_napari(self) -> list[tuple[Any, dict[str, Any], str]]:
        """The layers as napari takes them; see `latticework.viz.napari_layers`."""
        from latticework.viz.neuroglancer.napari import napari_layers

        return napari_layers(self)

    def export(self, folder: Path | str, *, overwrite: bool = False) -> "list[Precomputed]":
        """Write the visible images as Neuroglancer's precomputed volumes, for any web server.

        Parameters
        ----------
        folder
            Gets a folder for each layer.
        overwrite
            Whether volumes that are there are replaced.

        Returns
        -------
        list of Precomputed
            What was written, with ``path`` and ``shapes`` of the resolutions.
        """
        from latticework.viz.neuroglancer.exporting import export_view

        return export_view(self, Path(folder), overwrite=overwrite)

    # ---------------------------------------------------------------- its end

    def close(self) -> None:
        """Serve it no more; views that other variables hold stay."""
        if self._server is not None:
            self._server.remove("s", self._name)
            self._server.remove("d", self._name)
        self.closed = True
        self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: object) -> None:
        self.close()

    # ---------------------------------------------------------------- showing

    def __repr__(self) -> str:
        names = ", ".join(layer.name for layer in self.layers)
        where = " (closed)" if self.closed else ""
        return "\n".join([f"<View of {names}{where}>", *self.notes])

    def _repr_html_(self) -> str:
        if self.closed:
            return f"<p>{escaped(repr(self), 1000)}</p>"
        url = escaped(self.url, 4000)
        notes = "".join(f"<br><small>{escaped(note, 1000)}</small>" for note in self.notes)
        return (
            f'<iframe src="{url}" width="100%" height="{HEIGHT_PX}" style="border:0" '
            'allow="fullscreen" loading="lazy" title="Neuroglancer"></iframe>'
            f'<p><a href="{url}" target="_blank" rel="noopener noreferrer">Open in a tab</a>'
            f"{notes}</p>"
        )


def _loaded(state: Any) -> Any:
    """A state that is given as such, as JSON or as a file."""
    if state is None or isinstance(state, dict):
        return state
    try:
        text = str(state)
        found = json.loads(text if text.lstrip().startswith("{") else Path(text).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ViewError(
            f"state={str(state)[:80]!r} is not the state of a view ({error}): give what share() "
            "wrote, or the value of .state"
        ) from error
    if not isinstance(found, dict) or "layers" not in found:
        raise ViewError(f"state={str(state)[:80]!r} is not the state of a view: it has no layers")
    return found


__all__ = ["View"]
