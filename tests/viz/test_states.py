"""Colours of the states."""

import itertools

import numpy as np
import pytest

from latticework.lattice import State
from latticework.viz import state_cmap, state_colours
from latticework.viz.states import bar_order, counts_text, urgency

# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
VISIONS = {
    "normal": "1 0 0 0 1 0 0 0 1",
    "protanopia": "0.152286 1.052583 -.204868 .114503 0.786281 0.099216 -.003882 -.048116 1.051998",
    "deuteranopia": "0.367322 .860646 -.227968 .280085 0.672501 0.047413 -.011820 .042940 .968881",
    "tritanopia": "1.255528 -.076749 -.178779 -.078411 0.930809 0.147602 .004733 .691367 .303900",
}


def matrix(numbers: str) -> np.ndarray:
    return np.array(numbers.split(), dtype=float).reshape(3, 3)


def linear(colour: str) -> np.ndarray:
    rgb = np.array([int(colour[k : k + 2], 16) for k in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab(rgb: np.ndarray) -> np.ndarray:
    lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(lab) @ np.cbrt(np.array(lms) @ np.clip(rgb, 0, 1))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("vision", VISIONS)
def test_states_look_different_to_everybody(theme, vision):
    seen = {
        s: oklab(matrix(VISIONS[vision]) @ linear(look.on(theme)))
        for s, look in state_colours.items()
    }
    for a, b in itertools.combinations(State, 2):
        least = 0.065 if {a, b} == {State.ABSENT, State.WAITING} else 0.125
        assert np.linalg.norm(seen[a] - seen[b]) > least, (a, b)


def test_every_state_has_a_colour_and_a_place():
    assert list(state_colours) == list(State)
    assert sorted(urgency) == list(State)
    assert sorted(bar_order) == [state for state in State if state is not State.ABSENT]
    assert [look.label for look in state_colours.values()] == [state.label for state in State]


def test_the_colour_map_gives_each_number_its_colour():
    from matplotlib.colors import to_hex

    for theme in ("light", "dark"):
        cmap, norm = state_cmap(theme)
        assert [to_hex(cmap(norm(int(s)))) for s in State] == [
            state_colours[s].on(theme) for s in State
        ]


def test_counts_read_well():
    assert (
        counts_text({State.FAILED: 7, State.COMPLETE: 1354, State.ABSENT: 4})
        == "1,354 complete, 7 failed"
    )
    assert counts_text({}) == "no tiles"
