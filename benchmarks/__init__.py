"""Side-by-side measurements of latticework and its peers, in the same run on the same machine.

Run all of them, or some, and get one table::

    python -m benchmarks                     # no-op units, halo map, reopening: 10 to 15 minutes
    python -m benchmarks halo --repeats 5    # one of them
    python -m benchmarks --toy               # everything at toy size, under a minute
    python -m benchmarks --markdown table.md # also as Markdown

How to read it: every figure is the median over the repeats, each repeat is a fresh process, and the
systems take turns within a repeat, so that a busy minute of the machine hits all of them. The
column ``ratio`` is the system's figure divided by ours.
"""
