"""A command that ends with whoever started it: `python -m tutelage.cli._leash sample …`, its stdin held open by them.

A program that is killed cannot end its children, but whatever it died of, the system closes its pipes. So this process
reads its stdin, and is gone when that ends. It also steps back before everything else on the machine: people wait for
the server that starts it.
"""

from __future__ import annotations

import os
import sys
import threading

from tutelage.cli.main import main

_ENDED = 143
"""as if by SIGTERM"""
_POLITE = 10
"""how far back it steps: the system gives it what others leave"""


def _end_with_stdin() -> None:
    while os.read(0, 4096):
        pass
    os._exit(_ENDED)  # at once: what `sample` has on the disk is whole at any moment


if __name__ == "__main__":
    os.nice(_POLITE)
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    sys.exit(main(sys.argv[1:]))
