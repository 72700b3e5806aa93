"""tutelage teaches a language model from people's feedback: the public names, imported only when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.api import Training as Training
    from tutelage.api import dpo as dpo
    from tutelage.api import ppo as ppo
    from tutelage.api import pretrain as pretrain
    from tutelage.api import reward as reward
    from tutelage.api import sft as sft
    from tutelage.api import training as training
    from tutelage.errors import TutelageError as TutelageError
    from tutelage.models.load import load_policy as load_policy
    from tutelage.models.load import load_scorer as load_scorer
    from tutelage.store.store import Store as Store
    from tutelage.types import Message as Message
    from tutelage.types import Prompt as Prompt
    from tutelage.types import Sample as Sample

    DPO, PPO, SFT = dpo, ppo, sft

__version__ = "0.1.0"

_PUBLIC = {
    "pretrain": "tutelage.api:pretrain",
    "sft": "tutelage.api:sft",
    "reward": "tutelage.api:reward",
    "dpo": "tutelage.api:dpo",
    "ppo": "tutelage.api:ppo",
    "PPO": "tutelage.api:ppo",
    "DPO": "tutelage.api:dpo",
    "SFT": "tutelage.api:sft",
    "training": "tutelage.api:training",
    "Training": "tutelage.api:Training",
    "load_policy": "tutelage.models.load:load_policy",
    "load_scorer": "tutelage.models.load:load_scorer",
    "Store": "tutelage.store.store:Store",
    "Prompt": "tutelage.types:Prompt",
    "Sample": "tutelage.types:Sample",
    "Message": "tutelage.types:Message",
    "TutelageError": "tutelage.errors:TutelageError",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import tutelage` stays light (no torch)."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}; public names: {', '.join(sorted(_PUBLIC))}")
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted([*_PUBLIC, "__version__"])
