"""Which calls of stages fail; a module of its own, since those of stages travel by value."""


class Weather:
    """Which of the next calls fail, counted from 0."""

    def __init__(self):
        self.bad, self.calls = frozenset(), 0

    def forecast(self, bad):
        self.bad, self.calls = frozenset(bad), 0

    def call(self):
        number, self.calls = self.calls, self.calls + 1
        if number in self.bad:
            raise RuntimeError("lightning")


WEATHER = Weather()
