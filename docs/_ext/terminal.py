"""Pages as terminal sessions: commands are carried out when the page is read, and shown as typed.

``{file} NAME``  writes a file into the page's own folder, and shows it
``{shell}``      runs its lines there, one after another, and shows what they print

Options of ``{shell}``: ``:exit: 1`` for the exit code that is right for its lines, if not 0, and
``:picture: status.png`` for a picture that they leave, shown below. An exit code that is not right
fails the build.
"""

import base64
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

SHOWN_AS = "/data"
"""What the page's own folder is called in what is shown."""


def environment() -> dict[str, str]:
    """As in a terminal of 100 columns without colours, with our own programs first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    return {**os.environ, "PATH": path, "COLUMNS": "100", "NO_COLOR": "1", "MPLBACKEND": "Agg"}


def run(lines: Sequence[str], folder: Path, *, right: int = 0) -> str:
    """The lines with a prompt, each with what it printed.

    Raises
    ------
    RuntimeError
        If one of them ends with another exit code than the right one.
    """
    shown = []
    for line in lines:
        done = subprocess.run(  # noqa: S602 - the page says what to run
            line,
            shell=True,
            cwd=folder,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=300,
        )
        printed = done.stdout.replace(str(folder), SHOWN_AS).rstrip("\n")
        if done.returncode != right:
            raise RuntimeError(f"$ {line}\n{printed}\nexit code {done.returncode}, not {right}")
        shown += [f"$ {line}", *([printed] if printed else [])]
    return "\n".join(shown)


class _InFolder(SphinxDirective):
    """A directive with a folder that belongs to the page."""

    @property
    def folder(self) -> Path:
        folders: dict[str, Path] = self.env.temp_data.setdefault("terminal", {})
        if self.env.docname not in folders:
            folders[self.env.docname] = Path(tempfile.mkdtemp(prefix="lw_docs_")).resolve()
            _MADE.append(folders[self.env.docname])
        return folders[self.env.docname]


_MADE: list[Path] = []


class File(_InFolder):
    """``{file} NAME``."""

    has_content = True
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        name = self.arguments[0]
        (self.folder / name).write_text(f"{text}\n", encoding="utf-8")
        block = nodes.literal_block(text, text, language="python")
        box = nodes.container("", literal_block=True, classes=["literal-block-wrapper"])
        box += [nodes.caption(name, name), block]
        return [box]


class Shell(_InFolder):
    """``{shell}``."""

    has_content = True
    option_spec = {  # noqa: RUF012 - docutils wants it so
        "exit": directives.nonnegative_int,
        "picture": directives.unchanged_required,
        "alt": directives.unchanged_required,
    }

    def run(self) -> list[nodes.Node]:
        try:
            text = run(list(self.content), self.folder, right=self.options.get("exit", 0))
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            raise self.error(str(error)) from error
        found: list[nodes.Node] = [nodes.literal_block(text, text, language="console")]
        if "picture" in self.options:
            data = base64.b64encode((self.folder / self.options["picture"]).read_bytes())
            uri = f"data:image/png;base64,{data.decode()}"
            found.append(nodes.image("", uri=uri, alt=self.options.get("alt", "")))
        return found


def _clear(_app: Sphinx, _error: Exception | None) -> None:
    while _MADE:
        shutil.rmtree(_MADE.pop(), ignore_errors=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("file", File)
    app.add_directive("shell", Shell)
    app.connect("build-finished", _clear)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
