"""What words on the command line mean: values, tiles, planes, regions; messages in such words."""

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from latticework.lattice import Lattice
    from latticework.project import Project

TILES = "[z=3 y=1:4 ... | ID | NAME]"
"""How tiles are written, several of them where the command takes several."""
TILE = "[z=3 y=1 ... | ID | NAME]"
"""How one tile is written."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_NAMED = {"true": True, "false": False, "none": None, "null": None}

# ------------------------------------------------------------------ values


def value_of(text: str) -> Any:
    """A value as people write it: a number, true or false, a text, a list, a mapping.

    Raises
    ------
    click.UsageError
        If it begins like a list, a mapping or a quoted text and is none.

    Examples
    --------
    >>> [value_of(text) for text in ("3", "2.5", "1e-3", "true", "None", "fast", '"3"', "007")]
    [3, 2.5, 0.001, True, None, 'fast', '3', '007']
    >>> value_of("[1, 3, 3]"), value_of("{'y': 2}"), value_of("a b, c")
    ([1, 3, 3], {'y': 2}, 'a b, c')
    """
    stripped = text.strip()
    if stripped.lower() in _NAMED:
        return _NAMED[stripped.lower()]
    if _NUMBER.fullmatch(stripped) and not re.match(r"[+-]?0\d", stripped):
        return int(stripped) if re.fullmatch(r"[+-]?\d+", stripped) else float(stripped)
    if not stripped or stripped[0] not in "[{(\"'":
        return text
    for read in (json.loads, ast.literal_eval):
        try:
            found = read(stripped)
            json.dumps(found)
        except (ValueError, SyntaxError, TypeError, RecursionError):
            continue
        return list(found) if isinstance(found, tuple) else found
    raise click.UsageError(
        f"{text!r} begins like a list, a mapping or a quoted text but is none: write "
        "'[1, 2]', '{\"y\": 2}' or '\"text\"', in quotes so that the shell leaves it alone"
    )


def assignments(words: Sequence[str]) -> dict[str, Any]:
    """Values by name, from words such as ``radius=2.5``.

    Raises
    ------
    click.UsageError
        If a word is none, or two have one name.

    Examples
    --------
    >>> assignments(["radius=2.5", "mode=fast", "size=[1, 3, 3]"])
    {'radius': 2.5, 'mode': 'fast', 'size': [1, 3, 3]}
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise click.UsageError(f"{word!r}: write name=value, as in radius=2.5")
        if name in found:
            raise click.UsageError(f"{word!r}: {name} was given before")
        found[name] = value_of(text)
    return found


# ------------------------------------------------------------------ tiles


def selection(lattice: "Lattice", words: Sequence[str]) -> tuple[int | None, dict[str, Any]]:
    """Tile id and labels from words such as ``z=3 y=1:4 well=E07,E08``, ``17`` or a tile's name.

    A range has both ends; ``z=4:`` has no end.

    Raises
    ------
    click.UsageError
        If a word is none of these.
    LatticeError
        If there is no such axis.

    Examples
    --------
    >>> from latticework import Lattice
    >>> tiles = Lattice.from_grid({"y": 2, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> selection(tiles, ["y=1", "x=0"]), selection(tiles, ["3"])
    ((None, {'y': 1, 'x': 0}), (3, {}))
    >>> selection(tiles, ["y=0:1", "x=0,1"])
    (None, {'y': slice(0, 1, None), 'x': [0, 1]})
    """
    from latticework.lattice.building import known_dim

    labels: dict[str, Any] = {}
    for word in words:
        id = _id(lattice, word)
        if id is not None:
            if len(words) > 1:
                raise click.UsageError(f"{word!r} is one tile by itself: leave the other words out")
            return id, {}
        axis, equals, text = word.partition("=")
        if not (equals and axis):
            raise click.UsageError(
                f"{word!r}: give labels of tiles, as in z=3 y=1:4 x=2,5, or the id or the name "
                "of one"
            )
        if axis in labels:
            raise click.UsageError(f"{word!r}: {axis} was given before; several are x=2,5")
        labels[axis] = _labels(text, lattice.labels[known_dim(lattice, axis)], word)
    return None, labels


def _id(lattice: "Lattice", word: str) -> int | None:
    """The id of a tile that is given by itself; None if a word is something else."""
    import numpy as np

    if re.fullmatch(r"\d+", word):
        return int(word)
    found = np.flatnonzero(lattice.names == word)
    return int(lattice.ids[found[0]]) if len(found) == 1 else None


def _labels(text: str, known: Any, word: str) -> Any:
    """One label, a list of them, or a range."""
    kind = known.dtype.kind
    if kind not in "iuf" and text in known:
        return text
    if ":" in text:
        ends = [_label(end, kind, word) if end else None for end in text.split(":")]
        if len(ends) != 2:
            raise click.UsageError(f"{word!r}: a range is first:last, both included")
        return slice(*ends)
    if "," in text:
        return [_label(one, kind, word) for one in text.split(",") if one]
    return _label(text, kind, word)


def _label(text: str, kind: str, word: str) -> Any:
    if kind in "iuf":
        try:
            number = float(text)
        except ValueError:
            raise click.UsageError(f"{word!r}: labels along this axis are numbers") from None
        return int(number) if number.is_integer() else number
    return text


def lattice_for(project: "Project", words: Sequence[str], stage: str | None = None) -> "Lattice":
    """The lattice whose axes some words name: the stage's own first, then the project's."""
    from latticework.lattice.offsets import lattice_dim

    axes = {lattice_dim(word.partition("=")[0]) for word in words if "=" in word}
    nodes = list(project.pipeline) if stage is None else [project.pipeline[stage]]
    lattices = [project.lattice] if stage is None else []
    lattices += [node.lattice for node in nodes]
    return next((found for found in lattices if axes <= set(found.dims)), project.lattice)


def chosen(
    project: "Project", words: Sequence[str], stage: str | None = None
) -> tuple[int | None, dict[str, Any]]:
    """What `selection` gives, on the lattice that is meant."""
    return selection(lattice_for(project, words, stage), words)


def one_unit(project: "Project", stage: str, words: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """The unit of a stage that is meant, and its labels.

    Raises
    ------
    click.UsageError
        If several are.
    """
    node = project.pipeline[stage]
    if node.reduction:
        selection(project.lattice, words)
        return 0, {}
    id, labels = selection(node.lattice, words)
    if any(isinstance(label, slice | list) for label in labels.values()):
        raise click.UsageError(f"{' '.join(words)}: give one tile, as in z=3 y=1 x=2")
    unit = project.unit_row(node, id, labels)
    return unit, dict(node.lattice.tile(unit).labels)


def planes(lattice: "Lattice", words: Sequence[str]) -> dict[str, list[Any]]:
    """Labels of planes by axis, from words such as ``z=3,4`` or ``z=2:5``.

    Examples
    --------
    >>> from latticework import Lattice
    >>> tiles = Lattice.from_grid({"y": 4, "x": 2}, tile_shape={"y": 8, "x": 8}, dtype="u1")
    >>> planes(tiles, ["y=1:2", "x=0"])
    {'y': [1, 2], 'x': [0]}
    """
    from latticework.lattice.building import known_dim

    found: dict[str, list[Any]] = {}
    for axis, labels in region(lattice, words).items():
        if isinstance(labels, slice):
            known = lattice.labels[known_dim(lattice, axis)]
            inside = [
                label
                for label in known.tolist()
                if (labels.start is None or label >= labels.start)
                and (labels.stop is None or label <= labels.stop)
            ]
            found[axis] = inside
        else:
            found[axis] = labels if isinstance(labels, list) else [labels]
    return found


def region(lattice: "Lattice", words: Sequence[str]) -> dict[str, Any]:
    """Labels by axis, from words that may not be a single tile."""
    id, labels = selection(lattice, words)
    if id is not None:
        raise click.UsageError(f"{words[0]!r}: give labels, as in z=1:2 y=3")
    return labels


def written(labels: Mapping[str, Any]) -> str:
    """Labels as they are typed.

    Examples
    --------
    >>> written({"tile_z": 3, "tile_y": 1, "well": "E07"})
    'z=3 y=1 well=E07'
    """
    from shlex import quote

    return " ".join(quote(f"{dim.removeprefix('tile_')}={label}") for dim, label in labels.items())


# ------------------------------------------------------------------ messages

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "add": ("add",),
    "attempts": ("why", "", ""),
    "cancel": ("cancel", "--stage ", "--tile "),
    "change": ("change", ""),
    "choose_region": ("region",),
    "end_acquisition": ("end",),
    "pause": ("pause", ""),
    "reinstate": ("reinstate", ""),
    "remove": ("remove", ""),
    "resume": ("resume", ""),
    "retry": ("retry", "--stage ", "--tile "),
    "run": ("run",),
    "skip": ("skip",),
    "stop": ("stop",),
    "unskip": ("unskip",),
    "watch": ("watch",),
    "why": ("why", "", ""),
    "withdraw": ("withdraw", ""),
}
"""Methods of a project: the command that does the same, and what stands before each argument."""
PHRASES = (
    (r"open it with latticework\.open_project, or give create\([^()]*\) to", "project.run() to"),
    (r"overwrite=True \(--overwrite\)|\boverwrite=True", "--overwrite"),
    (r"\breport=False", "--no-report"),
    (r'\bproject="OTHER\.lw"', "--project OTHER.lw"),
    (r"; more is in the summary that run\(\) returns", ""),
    (r"after=\[project\.source, \.\.\.\]", "--after source,..."),
    (r"reads=latticework\.all_tiles\(\)", "--reads all"),
    (r"\bfirst=(\d+)", r"--first \1"),
)
"""What is said in Python, and how it is said in a terminal."""
_METHOD = re.compile(rf"\bproject\.({'|'.join(COMMANDS)})\b(?:\(([^()]*)\))?")
TYPED = "latticework.project"
"""Under which the context of a command keeps the project as it was typed."""


def spoken(text: str, tile: str = "") -> str:
    """A message of the library in words of the command line, for the project that was typed.

    Parameters
    ----------
    text
        The message.
    tile
        The tile that it is about, as it is typed.

    Examples
    --------
    >>> spoken("once more: project.retry('clean'), then project.run()", "y=6")
    'once more: latticework retry PROJECT --stage clean y=6, then latticework run PROJECT'
    >>> spoken("say first=0; the end is project.end_acquisition()")
    'say --first 0; the end is latticework end PROJECT'
    """
    from latticework.cli.frame import called

    for python, words in PHRASES:
        text = re.sub(python, words, text)

    def typed(found: re.Match[str]) -> str:
        command, *before = COMMANDS[found[1]]
        given = [part.strip() for part in (found[2] or "").split(",") if part.strip()]
        words = [called(), command, typed_project()]
        for number, value in enumerate(given):
            option = before[number] if number < len(before) and "=" not in value else ""
            words.append(option + value.replace("'", "").replace('"', ""))
        if found[2] == "" and command in ("region", "unskip"):
            words.append("--all")
        elif tile and command in ("retry", "reinstate", "withdraw") and len(given) < 2:
            words.append(tile)
        return " ".join(words)

    return _METHOD.sub(typed, text)


def typed_project() -> str:
    """The project as it was typed, in quotes where it needs them."""
    from shlex import quote

    context = click.get_current_context(silent=True)
    found = None if context is None else context.meta.get(TYPED)
    return "PROJECT" if found is None else quote(str(found))


def note_project(context: click.Context, _parameter: Any, value: Any) -> Any:
    """Keep which project was typed, for messages; for the option ``callback`` of click."""
    if value is not None:
        context.meta[TYPED] = value
    return value
