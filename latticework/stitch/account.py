"""What a stitching came to, in words: one text for the page, the terminal and the notebook."""

from dataclasses import dataclass

from latticework.stitch.report_facts import Findings
from latticework.stitch.report_grid import grid_in_words, grid_left
from latticework.stitch.report_views import BeforeAfter, before_and_after
from latticework.stitch.report_words import Verdict, light_in_words, remarks, verdict, warnings
from latticework.viz.words import seconds

FIRST, BESIDES = "Look at this first", "Good to know"
"""What notes and remarks are called, wherever they are shown."""


@dataclass(frozen=True, slots=True)
class Account:
    """A verdict, what to look at, what became of the light, and how long it took; plain text.

    Examples
    --------
    >>> import latticework as lw
    >>> from latticework.stitch import place, register
    >>> tiles, truth = lw.simulate({"y": 2, "x": 2}, tile_shape={"y": 96, "x": 96}, seed=2)
    >>> account = account_of(Findings("brain", tiles, place(tiles, register(tiles)), took_s=3.0))
    >>> print(account)
    Nothing stands out: 4 of 4 links are trusted and agree to ... Every tile is placed by links.
    Light: No overlap of a trusted link shows enough to compare brightness: the light is left as...
    Took: 3.0 s (starting up and pauses not counted)
    """

    judged: Verdict
    """What to think of it."""
    notes: tuple[str, ...]
    """What a person should look at before using the volume, the gravest first."""
    remarks: tuple[str, ...]
    """What is good to know besides."""
    light: tuple[str, ...]
    """Whether flat-field and gains were used, and why."""
    took: str
    """How long it took; empty if that is not known."""

    def __str__(self) -> str:
        """As a terminal shows it."""
        return "\n".join(self.lines)

    @property
    def lines(self) -> list[str]:
        """All of it, line by line, as a terminal shows it."""
        said = [f"{self.judged.word}: {self.judged.text}"]
        for title, of in ((FIRST, self.notes), (BESIDES, self.remarks)):
            if of:
                said += [f"{title}:", *(f"  - {line}" for line in of)]
        said.append(f"Light: {' '.join(self.light)}")
        return [*said, f"Took: {self.took}"] if self.took else said


def account_of(found: Findings, both: BeforeAfter | None = None) -> Account:
    """What was found, in words.

    Parameters
    ----------
    found
        What was found.
    both
        Pictures of the volume, in which the grid of tiles may be seen; if not given, one plane of
        a coarse level of the volume is read, and no tile.
    """
    both = before_and_after(found, before=False) if both is None else both
    notes = (*warnings(found), *grid_in_words(found, grid_left(both)))
    took = ""
    if found.took_s is not None:
        took = f"{seconds(found.took_s)} (starting up and pauses not counted)"
    return Account(
        verdict(found, notes), notes, tuple(remarks(found)), tuple(light_in_words(found)), took
    )


__all__ = ["Account", "account_of"]
