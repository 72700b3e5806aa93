"""tutelage teaches a language model from people's feedback: the public names, imported only when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tutelage.api import Training as Training
    from tutelage.api import a2c as a2c
    from tutelage.api import best_of_n as best_of_n
    from tutelage.api import cpo as cpo
    from tutelage.api import dpo as dpo
    from tutelage.api import grpo as grpo
    from tutelage.api import kto as kto
    from tutelage.api import online_dpo as online_dpo
    from tutelage.api import orpo as orpo
    from tutelage.api import ppo as ppo
    from tutelage.api import pretrain as pretrain
    from tutelage.api import reinforce as reinforce
    from tutelage.api import reward as reward
    from tutelage.api import rloo as rloo
    from tutelage.api import sft as sft
    from tutelage.api import simpo as simpo
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
    if name not in _PUBLIC and name in _commands():
        return getattr(importlib.import_module("tutelage.api"), name)
    if name not in _PUBLIC:
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}; public names: {', '.join(__dir__())}")
    importlib.import_module("tutelage.ops.allocator").prepare_for_torch()
    module, _, attribute = _PUBLIC[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*_PUBLIC, *_commands(), "__version__"})


def _commands() -> list[str]:
    """Every file in `algorithms/` is a function of the same name."""
    registry = importlib.import_module("tutelage.registry")  # `from tutelage import …` would ask `__getattr__` again
    return [name.replace("-", "_") for name in registry.names("algorithms")]
