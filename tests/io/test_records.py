"""Records come back as they were, or are refused with the place of what is wrong."""

import json
import math
from datetime import UTC, date, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from latticework.errors import StoreError
from latticework.io.records import from_json, to_json

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=6)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | texts
    | st.datetimes()
    | st.dates()
    | st.complex_numbers(allow_nan=False)
)
records = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.sampled_from(["$float", "$array"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(records)
def test_records_come_back(record):
    assert from_json(to_json(record)) == record


@given(
    hnp.arrays(
        hnp.boolean_dtypes()
        | hnp.integer_dtypes()
        | hnp.floating_dtypes()
        | hnp.complex_number_dtypes(sizes=(64, 128)),
        hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
    )
)
def test_arrays_come_back_exactly(array):
    if array.dtype.itemsize > 8 and array.dtype.kind == "f":
        return  # long doubles differ between machines
    again = from_json(to_json({"a": array}))["a"]
    assert (again.dtype, again.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(again, array)


def test_text_is_strict_json_even_with_nan():
    text = to_json([math.nan, math.inf, -math.inf, np.float32("nan")])
    json.loads(text, parse_constant=pytest.fail)
    again = from_json(text)
    assert math.isnan(again[0])
    assert again[1:3] == [math.inf, -math.inf]


def test_numpy_scalars_become_numbers():
    again = from_json(to_json([np.uint8(7), np.bool_(True), np.float64(0.5), np.str_("a")]))
    assert again == [7, True, 0.5, "a"]
    assert [type(item) for item in again] == [int, bool, float, str]


def test_times_keep_their_zone():
    now = datetime(2024, 5, 1, 12, tzinfo=UTC)
    assert from_json(to_json({"at": now, "day": date(2024, 5, 1)})) == {
        "at": now,
        "day": date(2024, 5, 1),
    }


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"a": [1, {2}]}, r"record\['a'\]\[1\] is of type set"),
        ({1: 2}, "keys of a record are texts"),
        (b"bytes", "record is of type bytes"),
        (np.array(["a"]), "hold numeric arrays"),
        (np.zeros(10**6), "let the stage return the array itself"),
        ("x" * 10**6, "above the limit"),
        (np.datetime64("2024-01-01"), "of type datetime64"),
    ],
)
def test_what_is_no_record_is_refused(record, message):
    with pytest.raises(StoreError, match=message):
        to_json(record)


def test_damaged_text_says_so():
    with pytest.raises(StoreError, match="not a record"):
        from_json('{"a": ')
