"""The task that tutelage trains on, as a Gymnasium environment; importing this room registers `tutelage/Text-v0`.

import gymnasium
gymnasium.make("tutelage.envs:tutelage/Text-v0", prompts=["…"], words=["…"], reward=lambda prompt, answer: len(answer))
"""

from __future__ import annotations

from tutelage.errors import MissingInputError

try:
    import gymnasium
except ModuleNotFoundError as error:
    raise MissingInputError(
        "the environment needs the package gymnasium, which is not installed", fix="pip install 'tutelage[envs]'"
    ) from error

TEXT = "tutelage/Text-v0"
"""The environment's id in Gymnasium's registry."""


def register() -> None:
    """Make `tutelage/Text-v0` known to Gymnasium; what it needs (torch) is loaded when one is made. Twice is once."""
    if TEXT not in gymnasium.registry:
        gymnasium.register(TEXT, entry_point="tutelage.envs.text:make_text")


register()
