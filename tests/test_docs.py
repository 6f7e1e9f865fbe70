"""What the README and the guide show runs as shown.

Each page is one program: its Python blocks in order, in an empty folder, as a notebook would run
them. A block that must not run says why in a comment right above it: ``<!-- not run: why -->``.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from textwrap import indent

import pytest

from tests.slurm.testbed import how_to_install

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("LATTICEWORK_SHARED_DATA") or ROOT.parent / "shared" / "data")
REAL_DATA = {"LATTICEWORK_SHARED_DATA": str(SHARED.resolve())} if SHARED.is_dir() else {}
BLOCK = re.compile(
    r"(?P<why><!-- not run: [^>]+-->\n)?"
    r"^(?P<fence>`{3,})(?:python|\{code-cell\}[^\n]*)\n(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
SHOULD_RAISE = "else:\n    raise AssertionError('this cell should have raised')\n"
CELL_OPTIONS = re.compile(r"\A(?:---\n.*?---\n|(?::[^\n]*\n)+)", re.DOTALL)


def code_of(page: Path) -> str:
    """The Python of a page, each block under a comment with its line number."""
    text = page.read_text(encoding="utf-8")
    pieces = []
    for block in BLOCK.finditer(text):
        if not block["why"]:
            line = text.count("\n", 0, block.start("code"))
            options = CELL_OPTIONS.match(block["code"])
            code = CELL_OPTIONS.sub("", block["code"])
            if options and "raises-exception" in options[0]:
                code = f"try:\n{indent(code, '    ')}except Exception:\n    pass\n{SHOULD_RAISE}"
            pieces += [f"# {page.name}:{line}", code]
    return "\n".join(pieces)


PAGES = sorted(
    page
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if not {"_build", "jupyter_execute"} & set(page.relative_to(ROOT).parts) and code_of(page)
)


def parameter(page: Path) -> object:
    """A page as a parameter; notebooks, which the documentation's build runs too, are slow."""
    notebook = page.read_text(encoding="utf-8").startswith("---\nfile_format: mystnb")
    marks = [pytest.mark.slow] if notebook else []
    return pytest.param(page, marks=marks, id=str(page.relative_to(ROOT)))


def test_blocks_are_found_and_excused_blocks_are_not(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "```python\na = 1\n```\ntext\n"
        "<!-- not run: needs a queue -->\n```python\nb = 2\n```\n"
        "```{code-cell} ipython3\n:tags: [hide-input]\nc = 3\n```\n"
        "```{code-cell} ipython3\n:tags: [raises-exception]\n1 / 0\n```\n"
        "```bash\nls\n```\n"
    )
    code = code_of(page)
    assert "a = 1" in code
    assert "b = 2" not in code
    assert "c = 3" in code
    assert "tags" not in code
    assert "\nls\n" not in code
    exec(compile(code, "page.md", "exec"), {})  # 1 / 0 raises, as it should


@pytest.fixture
def cluster(request):
    """What a page needs to use a real SLURM, if it is about that and there is one here."""
    if "slurm" not in request.node.callspec.id or how_to_install():
        return {}
    return request.getfixturevalue("idle_slurm").environment


@pytest.mark.parametrize("page", [parameter(page) for page in PAGES])
def test_the_code_on_a_page_runs(page, tmp_path, cluster):
    done = subprocess.run(
        [sys.executable, "-c", code_of(page)],
        cwd=tmp_path,
        env={**os.environ, **REAL_DATA, **cluster},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def test_the_readme_has_two_commands_of_one_line_each():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    run, test = re.findall(r"^```bash\n(.+?)\n```$", text, flags=re.MULTILINE)
    assert run.endswith(".venv/bin/latticework demo")
    assert "'.[test]'" in test
    assert test.endswith(".venv/bin/pytest")
    for command in (run, test):
        assert shlex.split(command)[:4] == ["python3", "-m", "venv", ".venv"]


def test_relative_links_of_the_readme_lead_somewhere():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [target for target in targets if not (ROOT / target).exists()] == []
