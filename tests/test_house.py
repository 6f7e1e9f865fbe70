"""The house rules of the design: who may import whom, how large, how fast, how documented."""

import ast
import inspect
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import latticework as lw

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "latticework"

ROOMS = ("errors", "lattice", "io", "stages", "project", "viz", "stitch", "testing", "cli")
"""A room may import itself and those before it."""

UPWARD = {
    # (importing module, room above): why. Only inside functions, where it costs nothing until used.
    ("latticework.lattice", "viz"): "the repr and the plot of a lattice are pictures",
    ("latticework.project", "viz"): "progress of a run, the repr and the plots of a project",
    ("latticework.stages", "viz"): "the repr of a stage is a picture",
}
"""Prefix of the importing module's name and the room above it that it may load lazily."""

MOST_LINES = 500


class Import(NamedTuple):
    """One import of ours by one of our modules."""

    importer: str
    line: int
    imported: str
    lazy: bool


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str | None:
    if module == "latticework.__main__":  # the command line, for python -m
        return "cli"
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else None


def imports_of(path: Path) -> Iterator[Import]:
    """Every import of latticework in a module; ``lazy`` inside functions and TYPE_CHECKING."""
    importer = module_name(path)
    package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]

    def walk(node: ast.AST, *, lazy: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            names: list[str] = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    above = package.split(".")[: len(package.split(".")) - child.level + 1]
                    base = ".".join([*above, *([child.module] if child.module else [])])
                # `from latticework import x` names a room, or a public name of the package
                names = [f"{base}.{a.name}" if base == "latticework" else base for a in child.names]
            for name in names:
                if name.split(".")[0] == "latticework":
                    yield Import(importer, child.lineno, name, lazy)
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or (
                isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
            )
            yield from walk(child, lazy=lazy or inside)

    yield from walk(ast.parse(path.read_text(encoding="utf-8")), lazy=False)


def test_every_module_lives_in_a_room_of_the_house():
    rooms = {room_of(module_name(path)) for path in modules()} - {None}
    assert rooms <= set(ROOMS)


def test_imports_flow_one_way():
    wrong = []
    for path in modules():
        importing = room_of(module_name(path))
        if importing is None:  # latticework/__init__.py serves names of every room, lazily
            continue
        for found in imports_of(path):
            imported = room_of(found.imported)
            if imported == "__version__":
                continue
            if imported not in ROOMS:
                wrong.append(f"{found.importer}:{found.line} imports {found.imported}: name a room")
            elif ROOMS.index(imported) > ROOMS.index(importing):
                allowed = any(
                    imported == room
                    and (found.importer == prefix or found.importer.startswith(f"{prefix}."))
                    for prefix, room in UPWARD
                )
                if not (found.lazy and allowed):
                    wrong.append(f"{found.importer}:{found.line} imports {found.imported} above it")
    assert not wrong, "\n".join(wrong)


def test_the_import_reader_sees_every_kind_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    module = tmp_path / "latticework" / "io" / "example.py"
    module.parent.mkdir(parents=True)
    module.write_text(
        "import latticework.lattice as l\n"
        "from latticework.project.run import go\n"
        "from . import tables\n"
        "from ..viz import states\n"
        "def f():\n"
        "    from latticework import stages\n"
    )
    assert [(found.imported, found.lazy) for found in imports_of(module)] == [
        ("latticework.lattice", False),
        ("latticework.project.run", False),
        ("latticework.io", False),
        ("latticework.viz", False),
        ("latticework.stages", True),
    ]


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_a_module_can_be_read_in_one_sitting(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines < MOST_LINES, f"{path.name} has {lines} lines: split it by idea"


def fresh_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_is_quick_and_loads_nothing_heavy():
    heavy = ("numpy", "dask", "distributed", "xarray", "zarr", "tensorstore", "matplotlib", "bokeh")
    loaded = fresh_python(
        "import sys, latticework as lw; dir(lw);"
        f"print(*[name for name in {heavy!r} if name in sys.modules])"
    )
    assert loaded.split() == []
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        fresh_python("import latticework")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.5  # interpreter included


def test_a_lattice_needs_no_cluster():
    loaded = fresh_python(
        "import sys, latticework as lw; lw.Lattice; print('distributed' in sys.modules)"
    )
    assert loaded.strip() == "False"


@pytest.mark.parametrize("name", lw.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(lw, name)
    text = inspect.getdoc(value)
    assert text, f"lw.{name} has no docstring"
    assert name in dir(lw)


def test_type_checkers_see_the_names_that_users_see():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    block = next(
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    )
    typed = {
        alias.asname: f"{statement.module}"
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    lazy = {**lw._HOME, **dict.fromkeys(lw._ROOMS, "latticework")}
    assert typed == lazy
    assert sorted(typed) == sorted(lw.__all__)


def test_a_misspelt_public_name_lists_the_right_ones():
    with pytest.raises(AttributeError, match="open_tiles"):
        lw.open_tile  # noqa: B018


def tracked_files() -> list[Path]:
    """The files of the repository, or of the unpacked archive where there is no git."""
    done = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == 0 and done.stdout:
        return [ROOT / name for name in done.stdout.split("\0") if name]
    skip = {".git", ".venv", "_build", "__pycache__"}
    return [
        Path(folder, name)
        for folder, folders, names in os.walk(ROOT)
        for name in names
        if not folders.__setitem__(slice(None), [f for f in folders if f not in skip])
    ]


TEXT = {".py", ".md", ".toml", ".ipynb", ".cfg", ".txt", ".yml", ".yaml", ".json", ".csv", ".svg"}
SOMEBODYS_PATH = re.compile(r"(?<![\w.}/~])/(?:home|root|Users|work|opt)/\w")


def test_no_file_names_a_path_of_somebodys_machine():
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path in tracked_files()
        if path.is_file() and (path.suffix in TEXT or path.parent.name == ".ci")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if SOMEBODYS_PATH.search(line)
    ]
    assert not wrong, "\n".join(wrong)
