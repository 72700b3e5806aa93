"""Which models a rating server may ask for answers, and by which command: `rate serve --models DIR`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tutelage.errors import MissingInputError

if TYPE_CHECKING:
    from tutelage.web._settings import Sampler

USUAL = "runs"


def sampler_of(db: str, models: str) -> Sampler | None:
    """What samples for the admin's pages; None where no folder was named and the usual one is not there.

    Its files lie beside the database, or below the user's state folder for a server.

    Args:
        models: the folder as it was named; empty = not named.

    Raises:
        MissingInputError: the folder that was named is not there.
    """
    from tutelage.web._secret import place
    from tutelage.web._settings import Sampler

    folder = Path(models or USUAL)
    if not folder.is_dir():
        if not models:
            return None
        raise MissingInputError(
            "there is no such folder of models", where=models, fix="--models DIR, below which model folders lie"
        )
    command = (sys.executable, "-P", "-m", "tutelage.cli._leash", "sample")  # -P: no module of the working directory
    return Sampler(command, folder, place(db).absolute().with_suffix(".sampling"))
