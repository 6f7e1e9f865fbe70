r"""Templates of commands: text with ``{placeholders}`` that are filled in for every unit.

A placeholder is ``{name}``, ``{name.of}`` (of a parent or a declared file) or ``{name[key]}``
(of a neighbour). ``{{`` and ``}}`` are braces. Values are put in as they are: braces in them mean
nothing, and neither do spaces or quotes.

Examples
--------
>>> template = parse("--out={output}/{tile}.h5")
>>> template.fill({"output": "/tmp/a b", "tile": "{x}"})
'--out=/tmp/a b/{x}.h5'
>>> template.names
('output', 'tile')
>>> parse("{neighbours}").expand({"neighbours": ["a.tif", "b c.tif"]})
['a.tif', 'b c.tif']
"""

import difflib
import json
import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from latticework.errors import StageError

PLACEHOLDERS: Mapping[str, str] = {
    "tile": "name of the tile",
    "tile_path": "the tile's own file or folder, relative to the acquisition's folder",
    "tile_folder": "folder in which the tile's own files lie",
    "unit": "id of the unit, from 0 in order of acquisition",
    "z": "label of the tile along an axis of the lattice; {tile_z} is the same; so for every axis",
    "index_z": "place of the tile along an axis, from 0; so for every axis",
    "position_um_z": "position of the first pixel in micrometres; so for y and x",
    "pixel_size_um_z": "size of a pixel in micrometres; so for y and x",
    "step_px_z": "pixels from tile to tile; so for y and x",
    "step_um_z": "micrometres from tile to tile; so for y and x",
    "shape_z": "pixels of the tile; so for every axis of its pixels",
    "dtype": "type of the tile's pixels, such as uint16",
    "input": "path of what it reads; of the first parent, where it has several",
    "input.PARENT": "path of what it reads of that parent",
    "input.PARENT.FILE": "path of a file that the parent, a command, declares",
    "input_list": "a text file with the paths of {input}, one per line",
    "inputs": "paths of all files of what it reads, as they are; {inputs.PARENT} of that parent",
    "inputs_list": "a text file with the paths of {inputs}, one per line",
    "neighbour": "path of the neighbour, where the stage reads one",
    "neighbour[+z]": "path of the neighbour at that offset; {neighbour.PARENT[+z]} of that parent",
    "neighbour_name": "name of the neighbour, where the stage reads one",
    "neighbour_name[+z]": "name of the neighbour at that offset",
    "neighbours": "paths of the neighbours that there are; {neighbours.PARENT} of that parent",
    "neighbour_names": "their names",
    "output": "folder into which it writes; it is there, and empty",
    "file.NAME": "path of a declared file in {output}",
    "scratch": "a folder for what it needs meanwhile, removed afterwards",
    "log": "a file into which it may log; kept for every attempt, as what it prints is",
    "attempt": "number of the attempt, from 1",
    "stage": "name of the stage",
    "project": "name of the project",
    "project_root": "folder of the project",
    "source_root": "folder of the acquisition",
    "expected_exit_code": "the first of the exit codes that mean success",
    "is_cluster": "1 on a worker that a batch system started, else 0",
    "cores": "processor cores that it may use",
    "seed": "a whole number for random generators, the same for every attempt of a unit",
}
"""Every placeholder and what it stands for; parameters come on top."""

FIXED = ("input", "inputs", "neighbour", "output", "file", "scratch", "log", "attempt")
"""Placeholders that no parameter of a project replaces: they say where an attempt's files are."""

NAME = re.compile(r"\{([A-Za-z_]\w*)(?:\.([^\[\]{}]+))?(?:\[([^\[\]{}]+)\])?\}")


@dataclass(frozen=True, slots=True)
class Placeholder:
    """One placeholder in a template."""

    name: str
    """As it stands between the braces, ``"input.clean"`` or ``"neighbour[+z]"``."""

    @property
    def base(self) -> str:
        """What stands before ``.`` or ``[``."""
        return re.split(r"[.\[]", self.name, maxsplit=1)[0]


@dataclass(frozen=True, slots=True)
class Template:
    """A text with placeholders; made by `parse`."""

    text: str
    """As it was written."""
    pieces: tuple[str | Placeholder, ...]
    """Texts and placeholders in their order."""

    @property
    def names(self) -> tuple[str, ...]:
        """The placeholders, each once."""
        found = (piece.name for piece in self.pieces if isinstance(piece, Placeholder))
        return tuple(dict.fromkeys(found))

    def fill(self, values: Mapping[str, Any]) -> str:
        """The text with its placeholders filled in.

        Raises
        ------
        StageError
            Where a placeholder has no value, or is a list.
        """
        return "".join(
            piece if isinstance(piece, str) else self._one(piece, values) for piece in self.pieces
        )

    def expand(self, values: Mapping[str, Any]) -> list[str]:
        """One argument, or several where the template is nothing but a list."""
        if len(self.pieces) == 1 and isinstance(self.pieces[0], Placeholder):
            return texts(self.pieces[0].name, value_of(values, self.pieces[0].name))
        return [self.fill(values)]

    def quoted(self, values: Mapping[str, Any]) -> str:
        """The text for a shell, every value quoted as one word and lists as several."""
        return "".join(
            piece if isinstance(piece, str) else self._words(piece, values) for piece in self.pieces
        )

    def _one(self, piece: Placeholder, values: Mapping[str, Any]) -> str:
        found = texts(piece.name, value_of(values, piece.name))
        if len(found) != 1:
            raise StageError(
                f"{{{piece.name}}} in {self.text!r} is a list of {len(found)}: give it an element "
                "of the command by itself, so that it becomes as many arguments"
            )
        return found[0]

    def _words(self, piece: Placeholder, values: Mapping[str, Any]) -> str:
        return shlex.join(texts(piece.name, value_of(values, piece.name)))


def parse(text: str) -> Template:
    """A template from its text.

    Raises
    ------
    StageError
        Where a brace is neither part of a placeholder nor doubled.
    """
    pieces: list[str | Placeholder] = []
    plain: list[str] = []
    at = 0
    while at < len(text):
        if text[at : at + 2] in ("{{", "}}"):
            plain.append(text[at])
            at += 2
            continue
        found = NAME.match(text, at)
        if found:
            if plain:
                pieces.append("".join(plain))
                plain = []
            pieces.append(Placeholder(found[0][1:-1]))
            at = found.end()
            continue
        if text[at] in "{}":
            raise StageError(
                f"{text[max(0, at - 30) : at + 30]!r} has a lone {text[at]!r} (character {at + 1} "
                f"of an argument): write {text[at] * 2} for a brace, and "
                "{input}, {input.clean} or {neighbour[+z]} for what is to be filled in"
            )
        plain.append(text[at])
        at += 1
    if plain or not pieces:
        pieces.append("".join(plain))
    return Template(text, tuple(pieces))


def check_unquoted(template: Template) -> None:
    """Refuse placeholders inside the quotes of a shell text: their values are quoted already.

    Raises
    ------
    StageError
        Naming the placeholder.
    """
    quote, escaped = "", False
    for piece in template.pieces:
        if isinstance(piece, Placeholder):
            if quote:
                raise StageError(
                    f"{{{piece.name}}} stands inside {quote} quotes in {template.text!r}: leave "
                    "the quotes out, values are quoted for the shell already"
                )
            continue
        for character in piece:
            if escaped:
                escaped = False
            elif character == "\\" and quote != "'":
                escaped = True
            elif character in "'\"" and quote in ("", character):
                quote = "" if quote else character


def value_of(values: Mapping[str, Any], name: str) -> Any:
    """Value of a placeholder.

    Raises
    ------
    StageError
        If there is none, listing those that there are.
    """
    if name not in values:
        raise unknown(name, values)
    value = values[name]
    return value() if callable(value) else value


def unknown(name: str, valid: Collection[str]) -> StageError:
    """The error for a placeholder that nothing stands for."""
    base, dot, _ = name.partition(".")
    alike = [known for known in valid if dot and known.startswith(f"{base}.")]
    near = difflib.get_close_matches(name, alike or list(valid), n=1)
    meant = f": did you mean {{{near[0]}}}? T" if near else ". T"
    return StageError(
        f"there is no placeholder {{{name}}}{meant}here are "
        f"{', '.join(f'{{{known}}}' for known in sorted(valid))}; a brace itself is written {{{{"
    )


def texts(name: str, value: Any) -> list[str]:
    """A value as arguments: a list as several, anything else as one.

    Examples
    --------
    >>> texts("sigma", 2.5), texts("flags", ["-a", 3]), texts("fast", True)
    (['2.5'], ['-a', '3'], ['true'])
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [text_of(name, item) for item in value]
    return [text_of(name, value)]


def text_of(name: str, value: Any) -> str:
    """One value as text: numbers as Python writes them, booleans as true and false.

    Raises
    ------
    StageError
        If it has no text, or one that no program can be given.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        value = "true" if value else "false"
    elif isinstance(value, dict):
        value = json.dumps(value)
    if not isinstance(value, str | int | float | PurePath):
        raise StageError(
            f"{{{name}}} is a {type(value).__name__} ({value!r:.80}), which no program can be "
            "given: use text, numbers, booleans, lists of them, or a dict of plain values (JSON)"
        )
    text = str(value)
    if "\0" in text:
        raise StageError(f"{{{name}}} has a NUL character in it: {text!r:.80}")
    return text
