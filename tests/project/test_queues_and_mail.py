"""What is ready, the mailbox and the settings, against the simplest things that do the same."""

import json
import os
import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from latticework.io.mailbox import Mailbox
from latticework.project.dispatch import MOST_RUNS, ReadyUnits
from latticework.project.settings import ORDERS, Priority, Settings

ids = st.lists(st.integers(0, 10_000), max_size=12)


def units(numbers):
    return np.array(numbers, dtype=np.int64)


class Ready(RuleBasedStateMachine):
    """`ReadyUnits` beside a set and a sort."""

    @initialize(n=st.integers(1, 60), seed=st.none() | st.integers(0, 99))
    def make(self, n, seed):
        self.n, self.rank = n, self.ranks(n, seed)
        self.ready, self.model = ReadyUnits(n, self.rank), set()

    def ranks(self, n, seed):
        return None if seed is None else np.random.default_rng(seed).permutation(n)

    def some(self, numbers):
        return units(sorted({number % self.n for number in numbers}))

    @rule(numbers=ids)
    def add(self, numbers):
        self.ready.add(self.some(numbers))
        self.model |= set(self.some(numbers).tolist())

    @rule(numbers=ids)
    def add_one_by_one(self, numbers):
        for number in numbers * 4:
            self.ready.add(self.some([number]))
        self.model |= set(self.some(numbers).tolist())

    @rule(numbers=ids)
    def remove(self, numbers):
        self.ready.remove(self.some(numbers))
        self.model -= set(self.some(numbers).tolist())

    @rule(numbers=ids)
    def remove_and_add_again(self, numbers):
        self.remove(numbers)
        self.add(numbers)

    @rule(n=st.integers(0, 70))
    def take(self, n):
        taken = self.ready.take(n).tolist()
        first = sorted(self.model, key=lambda u: u if self.rank is None else self.rank[u])[:n]
        assert taken == first
        self.model -= set(taken)

    @rule(more=st.integers(0, 40), seed=st.none() | st.integers(0, 99))
    def grow(self, more, seed):
        self.n += more
        self.rank = self.ranks(self.n, seed)
        self.ready.grow(self.n, self.rank)

    @rule(seed=st.none() | st.integers(0, 99))
    def rank_by(self, seed):
        self.rank = self.ranks(self.n, seed)
        self.ready.rank_by(self.rank)

    @rule()
    def clear(self):
        self.ready.clear()
        self.model.clear()

    @invariant()
    def the_same_units_are_in(self):
        if hasattr(self, "ready"):
            assert len(self.ready) == len(self.model)
            assert bool(self.ready) == bool(self.model)


TestReadyUnits = Ready.TestCase
TestReadyUnits.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)


def test_few_runs_are_kept_however_units_come():
    ready = ReadyUnits(2000)
    for unit in np.random.default_rng(0).permutation(2000):
        ready.add(units([unit]))
        assert len(ready._runs) <= MOST_RUNS
    assert ready.take(2000).tolist() == list(range(2000))


# -------------------------------------------------------------------- the mailbox


def test_each_request_is_collected_by_one_of_two_collectors(tmp_path):
    box = Mailbox(tmp_path / "commands")
    tickets = [box.ask("count", {"number": number}) for number in range(60)]
    begin, found = threading.Barrier(2), ([], [])

    def collect(mine):
        begin.wait()
        for letter in Mailbox(tmp_path / "commands").collect():
            mine.append(letter.arguments["number"])
            box.answer(letter, {"answer": letter.arguments["number"]})

    threads = [threading.Thread(target=collect, args=(mine,)) for mine in found]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found[0] + found[1]) == list(range(60))
    assert [box.fetch(ticket)["answer"] for ticket in tickets] == list(range(60))
    assert not any(box.folder.iterdir())


def test_a_request_is_either_taken_back_or_answered(tmp_path):
    box = Mailbox(tmp_path / "commands")
    tickets = [box.ask("count", {"number": number}) for number in range(100)]
    begin, collected, back = threading.Barrier(2), [], []

    def collect():
        begin.wait()
        for letter in box.collect():
            collected.append(letter.arguments["number"])
            box.answer(letter, {"answer": None})

    def take_back():
        begin.wait()
        back.extend(number for number in reversed(range(100)) if box.take_back(tickets[number]))

    threads = [threading.Thread(target=collect), threading.Thread(target=take_back)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(collected + back) == list(range(100))
    for number, ticket in enumerate(tickets):
        assert (box.fetch(ticket) is None) == (number in back)


def test_requests_are_collected_in_the_order_in_which_they_were_left(tmp_path):
    box = Mailbox(tmp_path / "commands")
    for number in range(30):
        box.ask("count", {"number": number})
    assert [letter.arguments["number"] for letter in box.collect()] == list(range(30))


def test_a_request_that_cannot_be_read_is_answered_and_holds_up_no_other(tmp_path):
    box = Mailbox(tmp_path / "commands")
    ticket = box.ask("pause", {})
    path = box.folder / f"{ticket}.json"
    for text in ('{"command": "pa', '["pause"]', '{"command": "pause"}', "\x00", '{"command": 1,'):
        path.write_text(text)
        assert list(box.collect()) == []
        assert "cannot be read" in box.fetch(ticket)["error"]
    path.write_bytes(b"\xff\xfe")
    box.ask("resume", {})
    assert [letter.command for letter in box.collect()] == ["resume"]
    assert "cannot be read" in box.fetch(ticket)["error"]


def test_requests_that_are_nested_too_deeply_or_no_files_are_answered_too(tmp_path):
    box = Mailbox(tmp_path / "commands")
    first, _, last = (box.ask("retry", {"k": k}) for k in range(3))
    deep = min((tmp_path / "commands").glob("*.json"))
    deep.write_text('{"command": "retry", "arguments": ' + "[" * 100_000)
    pipe = sorted((tmp_path / "commands").glob("*.json"))[1]
    pipe.unlink()
    os.mkfifo(pipe)
    assert [letter.arguments for letter in box.collect()] == [{"k": 2}]
    assert "error" in box.fetch(first)
    assert last is not None


def test_files_that_are_no_requests_do_not_disturb(tmp_path):
    box = Mailbox(tmp_path / "commands")
    box.ask("pause", {})
    (box.folder / "notes.json").write_text('{"command": "pause", "arguments": {}}')
    (box.folder / "folder.json").mkdir()
    assert "pause" in [letter.command for letter in box.collect()]
    assert list(box.collect()) == []


def test_an_answer_is_fetched_once_and_whole(tmp_path):
    box = Mailbox(tmp_path / "commands")
    ticket, big, found = box.ask("about", {}), "x" * 2_000_000, []

    def fetch():
        while not found:
            reply = box.fetch(ticket)
            if reply is not None:
                found.append(reply)

    thread = threading.Thread(target=fetch)
    thread.start()
    [letter] = box.collect()
    box.answer(letter, {"answer": big})
    thread.join()
    assert found == [{"answer": big}]
    assert box.fetch(ticket) is None


def test_what_an_earlier_coordinator_took_is_cleared_and_what_waits_is_kept(tmp_path):
    box = Mailbox(tmp_path / "commands")
    box.ask("pause", {})
    taken = next(box.collect())
    box.ask("resume", {})
    box.clear()
    assert not taken.path.exists()
    assert [letter.command for letter in box.collect()] == ["resume"]


# -------------------------------------------------------------------- settings

labels = st.integers(-5, 50) | st.text(max_size=4)
dims = st.sampled_from(["tile_z", "tile_y", "round"])
several = st.lists(labels, max_size=4).map(tuple)
bounds = st.dictionaries(
    dims,
    st.fixed_dictionaries({"within": st.tuples(st.none() | labels, st.none() | labels)})
    | st.fixed_dictionaries({"among": several}),
    max_size=2,
)
plain = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
all_settings = st.builds(
    Settings,
    paused=st.booleans(),
    paused_stages=st.lists(st.text(max_size=5), max_size=3).map(tuple),
    skipped=st.dictionaries(dims, several, max_size=2),
    region=bounds,
    priority=st.builds(
        Priority,
        order=st.sampled_from(ORDERS),
        axis=st.none() | dims,
        preview=st.none() | st.integers(1, 9),
        region=bounds,
    ),
    live=st.booleans(),
    ended=st.booleans(),
    parameters=st.dictionaries(st.text(max_size=4), plain, max_size=3),
)


@given(all_settings)
def test_settings_come_back_as_they_were(given_settings):
    again = Settings.from_json(given_settings.to_json())
    assert again == given_settings
    assert again.to_json() == given_settings.to_json()


@given(all_settings, st.sets(st.sampled_from(["parameters", "live", "ended", "paused"])))
def test_settings_of_before_have_the_usual_values_for_what_is_new(given_settings, unknown):
    values = json.loads(given_settings.to_json())
    for name in unknown:
        del values[name]
    again = Settings.from_json(json.dumps(values))
    usual = Settings()
    assert again == given_settings.replace(**{name: getattr(usual, name) for name in unknown})


def test_nothing_kept_means_the_usual_settings():
    assert Settings.from_json(None) == Settings()
