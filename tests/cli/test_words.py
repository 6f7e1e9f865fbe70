"""How values, tiles, planes and reading patterns are written on the command line."""

import click
import pytest

from latticework import Lattice
from latticework.cli.editing import patterns
from latticework.cli.words import (
    assignments,
    planes,
    region,
    selection,
    spoken,
    value_of,
    written,
)


@pytest.fixture
def tiles():
    return Lattice.from_grid(
        {"z": 5, "y": 2, "x": 3},
        tile_shape={"z": 4, "y": 8, "x": 8},
        dtype="u1",
        names=[f"tile-{n}" for n in range(30)],
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-3", -3),
        ("+2.5", 2.5),
        (".5", 0.5),
        ("1e-3", 0.001),
        ("007", "007"),
        ("1_000", "1_000"),
        ("nan", "nan"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("fast", "fast"),
        ("", ""),
        ('"3"', "3"),
        ("'a b'", "a b"),
        ("[1, 3, 3]", [1, 3, 3]),
        ("(1, 2)", [1, 2]),
        ('{"y": 2}', {"y": 2}),
        ("{'y': 2}", {"y": 2}),
        ("$(rm -rf x); `ls`", "$(rm -rf x); `ls`"),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_values_are_read_as_people_write_them(text, value):
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("text", ["[1, 2", "{y: 2}", '"half', "[__import__('os')]", "[1j]"])
def test_what_begins_like_a_list_and_is_none_is_refused(text):
    with pytest.raises(click.UsageError, match="begins like a list"):
        value_of(text)


def test_assignments_need_a_name_and_come_once():
    assert assignments(["radius=2.5", "text=a=b"]) == {"radius": 2.5, "text": "a=b"}
    for wrong, message in [
        (["radius"], "name=value"),
        (["=3"], "name=value"),
        (["a=1", "a=2"], "before"),
    ]:
        with pytest.raises(click.UsageError, match=message):
            assignments(wrong)


def test_tiles_are_labels_ranges_lists_ids_or_names(tiles):
    assert selection(tiles, ["z=1:3", "y=0", "x=0,2"]) == (
        None, {"z": slice(1, 3), "y": 0, "x": [0, 2]},
    )  # fmt: skip
    assert selection(tiles, ["z=2:"]) == (None, {"z": slice(2, None)})
    assert selection(tiles, ["17"]) == (17, {})
    assert selection(tiles, ["tile-17"]) == (17, {})
    wrong = {
        "17 y=1": "one tile by itself",
        "z=1 z=2": "before",
        "z=1:2:3": "range",
        "z=a": "numbers",
    }
    for words, message in wrong.items():
        with pytest.raises(click.UsageError, match=message):
            selection(tiles, words.split())
    with pytest.raises(click.UsageError, match="give labels"):
        region(tiles, ["17"])


def test_planes_are_single_several_or_a_range(tiles):
    assert planes(tiles, ["z=3,4", "x=1"]) == {"z": [3, 4], "x": [1]}
    assert planes(tiles, ["z=1:3"]) == {"z": [1, 2, 3]}
    assert planes(tiles, ["z=3:"]) == {"z": [3, 4]}


def test_labels_can_be_typed_again(tiles):
    labels = dict(tiles.tile(17).labels)
    assert selection(tiles, written(labels).split())[1] == {"z": 2, "y": 1, "x": 2}


def test_reading_patterns_are_words():
    assert patterns((), "wait") is None
    assert patterns(("all",), "run").pattern == "all tiles"
    assert patterns(("plane:z",), "wait").axis == "tile_z"
    assert patterns(("+z,-x",), "absent").offsets == ("+z", "-x")
    by_parent = patterns(("lamp=all", "clean=+z"), "wait")
    assert {name: how.pattern for name, how in by_parent.items()} == {
        "lamp": "all tiles", "clean": "neighbours",
    }  # fmt: skip
    with pytest.raises(click.UsageError, match="which parent"):
        patterns(("all", "+z"), "wait")
    with pytest.raises(click.UsageError, match="--reads"):
        patterns(("",), "wait")


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("has ended (project.end_acquisition())", "has ended (latticework end PROJECT)"),
        ("project.retry(), then project.run()",
         "latticework retry PROJECT, then latticework run PROJECT"),
        ("project.retry('spots') lets", "latticework retry PROJECT --stage spots lets"),
        ("project.retry('spots', 3)", "latticework retry PROJECT --stage spots --tile 3"),
        ("project.attempts('spots', 3)", "latticework why PROJECT spots 3"),
        ("project.unskip(z=3) takes", "latticework unskip PROJECT z=3 takes"),
        ("project.choose_region() takes", "latticework region PROJECT --all takes"),
        ("project.resume('spots')", "latticework resume PROJECT spots"),
        ("project.resume() lets it", "latticework resume PROJECT lets it"),
        ("project.reinstate takes it in", "latticework reinstate PROJECT takes it in"),
        ("say first=0 or first=1", "say --first 0 or --first 1"),
        ("open it with latticework.open_project, or give create(..., exist_ok=True) to go on",
         "latticework run PROJECT to go on"),
        ("overwrite it with overwrite=True (--overwrite)", "overwrite it with --overwrite"),
        ("see project.lattice.source", "see project.lattice.source"),
    ],
)  # fmt: skip
def test_messages_of_the_library_are_said_in_words_of_the_terminal(python, words):
    assert spoken(python) == words


def test_a_message_about_a_tile_names_it_where_the_command_needs_it():
    assert spoken("project.reinstate", "y=6") == "latticework reinstate PROJECT y=6"
    assert spoken("project.retry('a')", "y=6") == "latticework retry PROJECT --stage a y=6"
    assert spoken("project.end_acquisition()", "y=6") == "latticework end PROJECT"
