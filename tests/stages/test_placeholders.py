"""Templates of commands: what is filled in, what is refused, and what a shell reads of it."""

import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latticework.errors import StageError
from latticework.stages.placeholders import check_unquoted, parse

ANY_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)))


@given(text=ANY_TEXT)
def test_a_text_with_doubled_braces_is_itself(text):
    template = parse(text.replace("{", "{{").replace("}", "}}"))
    assert template.names == ()
    assert template.fill({}) == text


@given(before=ANY_TEXT, value=ANY_TEXT, after=ANY_TEXT)
def test_values_are_put_in_as_they_are_and_never_expanded_again(before, value, after):
    doubled = [text.replace("{", "{{").replace("}", "}}") for text in (before, after)]
    template = parse("{value}".join(doubled))
    assert template.names == ("value",)
    assert template.fill({"value": value}) == before + value + after
    assert template.expand({"value": value}) == [before + value + after]


def test_a_list_by_itself_becomes_several_arguments():
    values = {"neighbours": ["a b", "", "{c}"], "none": []}
    assert parse("{neighbours}").expand(values) == ["a b", "", "{c}"]
    assert parse("{none}").expand(values) == []
    with pytest.raises(StageError, match="is a list of 3: give it an element of the command"):
        parse("--files={neighbours}").expand(values)


@pytest.mark.parametrize("text", ["{", "a}b", "{ tile }", "{}", '{"json": 1}', "{0}", "{a!r}"])
def test_a_brace_that_is_no_placeholder_is_refused(text):
    with pytest.raises(StageError, match="has a lone"):
        parse(text)


def test_a_name_that_stands_for_nothing_lists_those_that_do():
    with pytest.raises(StageError, match=r"no placeholder \{tiel\}: did you mean \{tile\}\?.*unit"):
        parse("{tiel}").fill({"tile": 1, "unit": 2})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (np.float64(2.5), "2.5"),
        (np.int32(3), "3"),
        (True, "true"),
        ({"a": [1]}, '{"a": [1]}'),
    ],
)
def test_values_have_one_text(value, text):
    assert parse("{v}").fill({"v": value}) == text


@pytest.mark.parametrize("value", [None, object(), "a\0b", b"x"])
def test_what_no_program_can_be_given_is_refused(value):
    with pytest.raises(StageError, match=r"\{v\}"):
        parse("{v}").fill({"v": value})


@given(value=ANY_TEXT, words=st.lists(ANY_TEXT, max_size=3))
def test_a_shell_reads_each_value_as_one_word(value, words):
    text = parse("{value} {words}").quoted({"value": value, "words": words})
    ran = subprocess.run(
        ["sh", "-c", f"for w in {text}; do printf '%s\\0' \"$w\"; done"],
        capture_output=True,
        check=True,
    )
    assert ran.stdout.decode().split("\0")[:-1] == [value, *words]


def test_placeholders_within_the_quotes_of_a_shell_are_refused():
    check_unquoted(parse("cat {input} | awk '{{print \"x\"}}' > {output}/a\\'b{tile}"))
    for text in ('cat "{input}"', "cat 'a b'\"c'd{input}\"", "echo '{tile}'"):
        with pytest.raises(StageError, match=r"inside . quotes"):
            check_unquoted(parse(text))
