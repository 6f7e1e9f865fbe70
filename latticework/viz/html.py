"""Bits of HTML that all notebook reprs share: escaping, the look, light and dark.

Pieces stand alone: no script, nothing fetched. Neutrals are the colour of the surrounding text at
some opacity, so they suit whatever page they land on; the colours of states switch with the theme
of JupyterLab, VS Code, Sphinx and the system. Where a page strips `<style>` (saved notebooks on
the web), attributes on the elements keep the picture whole.
"""

from collections.abc import Iterable
from html import escape as _escape

from latticework.lattice.states import State
from latticework.viz.states import Theme, state_colours
from latticework.viz.words import plain

_DARK_PAGES = (
    '[data-jp-theme-light="false"]',
    'html[theme="dark"]',
    'html[data-theme="dark"]',
    'body[data-theme="dark"]',
    "body.vscode-dark",
)
_LIGHT_PAGES = (
    '[data-jp-theme-light="true"]',
    'html[theme="light"]',
    'html[data-theme="light"]',
    'body[data-theme="light"]',
    "body.vscode-light",
)
_RULES = """
.lw{font:13px/1.45 system-ui,sans-serif;color:inherit;max-width:84em}
.lw .lw-h{font-size:14px;font-weight:600;margin:.3em 0 .5em}
.lw .lw-h small,.lw .lw-m{font-weight:400;font-size:12px;opacity:.7}
.lw table.lw-t tr{background:none!important}
.lw table.lw-t{border-collapse:collapse;margin:0;border:0}
.lw table.lw-t td,.lw table.lw-t th{padding:.1em .9em .1em 0;border:0;background:none;
text-align:left;vertical-align:top;font-weight:400;font-variant-numeric:tabular-nums}
.lw table.lw-t th{opacity:.7;white-space:nowrap}
.lw table.lw-t td.lw-n{text-align:right;white-space:nowrap}
.lw .lw-g path:hover{stroke:currentColor;stroke-width:1.5px;vector-effect:non-scaling-stroke}
"""


def escaped(text: object, limit: int = 200) -> str:
    """`text` on one line, safe within HTML text and attributes.

    Examples
    --------
    >>> escaped('<script>"a"')
    '&lt;script&gt;&quot;a&quot;'
    """
    return _escape(plain(text, limit), quote=True)


def linked(url: str) -> str:
    """An address that can be clicked; plain text if it is not one of the web.

    Examples
    --------
    >>> linked("javascript:alert(1)")
    'javascript:alert(1)'
    >>> linked("http://127.0.0.1:8787/lattice")[:40]
    '<a href="http://127.0.0.1:8787/lattice" '
    """
    text = escaped(url, 400)
    if not url.startswith(("http://", "https://")):
        return text
    look = "color:inherit;text-decoration:underline"
    return f'<a href="{text}" target="_blank" rel="noopener" style="{look}">{text}</a>'


def state_fill(state: State) -> str:
    """CSS colour of a state: follows the theme, and is the light one where nothing sets a theme.

    Examples
    --------
    >>> from latticework.lattice.states import State
    >>> state_fill(State.FAILED)
    'var(--lw-failed,#ef4800)'
    """
    look = state_colours[state]
    return f"var(--lw-{look.label},{look.light})"


def _variables(theme: Theme) -> str:
    return ";".join(f"--lw-{look.label}:{look.on(theme)}" for look in state_colours.values())


def style() -> str:
    """The `<style>` element that every repr begins with."""
    light, dark = _variables("light"), _variables("dark")

    def on(pages: tuple[str, ...]) -> str:
        return ",".join(f"{page} .lw" for page in pages)

    return (
        f"<style>{_RULES}.lw{{{light}}}"
        f"@media(prefers-color-scheme:dark){{.lw{{{dark}}}}}"
        f"{on(_LIGHT_PAGES)}{{{light}}}{on(_DARK_PAGES)}{{{dark}}}</style>"
    )


def framed(*parts: str) -> str:
    """`parts` as one repr."""
    return f'{style()}<div class="lw">{"".join(parts)}</div>'


SIDE_BY_SIDE = "display:flex;flex-wrap:wrap;gap:.5em 1.8em;align-items:flex-start"
"""CSS of elements that stand side by side where there is room, else below each other."""


def side_by_side(left: str, right: str) -> str:
    """Two pieces of HTML beside each other, where there is room."""
    return f'<div style="{SIDE_BY_SIDE}">{left}<div>{right}</div></div>'


def facts_table(facts: Iterable[tuple[str, str]]) -> str:
    """Names with texts as a table; empty texts are left out, a name that repeats is shown once.

    Examples
    --------
    >>> facts_table([("with", "size = 3"), ("with", "mode = 'nearest'"), ("in", "")])
    '<table class="lw-t"><tr><th>with</th><td>size = 3</td></tr>...
    """
    rows, last = "", ""
    for name, text in facts:
        if text:
            shown = "" if name == last else name
            rows += f"<tr><th>{escaped(shown)}</th><td>{escaped(text, 300)}</td></tr>"
            last = name
    return f'<table class="lw-t">{rows}</table>'
