"""Times as people give them: a date, a text, or how long ago."""

import time
from datetime import datetime, timedelta
from typing import Any

from latticework.errors import ProjectError

Moment = datetime | timedelta | str | float
"""A time: a `datetime`, a text such as ``"2026-03-01 14:00"``, or how long ago: seconds, a
`timedelta`, or a text such as ``"10min"``. Times without a time zone are this machine's."""


def seconds_since_1970(moment: Any, *, now: float | None = None) -> float:
    """A time as seconds since 1970.

    Parameters
    ----------
    moment
        See `Moment`.
    now
        From which "ago" counts; the present if not given.

    Raises
    ------
    ProjectError
        If it is none.

    Examples
    --------
    >>> seconds_since_1970(90, now=1000.0), seconds_since_1970("2min", now=1000.0)
    (910.0, 880.0)
    >>> seconds_since_1970("1970-01-01T00:01:00+00:00")
    60.0
    """
    now = time.time() if now is None else now
    if isinstance(moment, datetime):
        return moment.timestamp()
    if isinstance(moment, timedelta):
        return now - moment.total_seconds()
    if isinstance(moment, str):
        return _from_text(moment, now)
    try:
        return now - float(moment)
    except (TypeError, ValueError) as error:
        raise _unclear(moment) from error


def _from_text(text: str, now: float) -> float:
    import pandas as pd

    try:
        float(text)
    except ValueError:
        pass
    else:
        raise _unclear(text)
    try:
        return now - float(pd.Timedelta(text).total_seconds())
    except ValueError:
        pass
    try:
        return float(pd.Timestamp(text).to_pydatetime().timestamp())
    except ValueError as error:
        raise _unclear(text) from error


def interval_s(every: Any) -> float:
    """An interval in seconds, from a number of them, a `timedelta` or a text such as ``"1min"``.

    Raises
    ------
    ProjectError
        If it is none, or not above zero.

    Examples
    --------
    >>> interval_s("1min"), interval_s(5)
    (60.0, 5.0)
    """
    try:
        if isinstance(every, str):
            import pandas as pd

            found = float(pd.Timedelta(every).total_seconds())
        else:
            found = every.total_seconds() if isinstance(every, timedelta) else float(every)
    except (TypeError, ValueError) as error:
        raise ProjectError(
            f"every={every!r} is no interval: give seconds, or a text such as '1min' or '2h'"
        ) from error
    if not 0 < found < float("inf"):
        raise ProjectError(f"every={every!r} is no interval: it must be longer than nothing")
    return found


def _unclear(moment: Any) -> ProjectError:
    return ProjectError(
        f"{moment!r} is no time: give a datetime, a text such as '2026-03-01 14:00' or '10min' "
        "(ago), or a number of seconds ago"
    )
