"""Runs one measured function in this fresh interpreter and leaves its result in a JSON file.

Called by `benchmarks.measure`; the request is ``{"target", "arguments", "scratch", "result"}``.
"""

import importlib
import json
import sys
from pathlib import Path

from benchmarks.clock import Stopwatch


def main(request_text: str) -> None:
    """Call ``target(scratch, watch, **arguments)``, which returns its further figures."""
    request = json.loads(request_text)
    module, _, name = request["target"].partition(":")
    watch = Stopwatch()
    function = getattr(importlib.import_module(module), name)
    figures = function(Path(request["scratch"]), watch, **request["arguments"])
    result = {"begin": watch.begin, "end": watch.end, "figures": figures or {}}
    Path(request["result"]).write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
