"""tutelage teaches a language model from people's feedback: the public names, imported only when asked for."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "Pretrain": "tutelage.algorithms.pretrain:Pretrain",
    "SFT": "tutelage.algorithms.sft:SFT",
    "RewardModel": "tutelage.algorithms.reward:RewardModel",
    "DPO": "tutelage.algorithms.dpo:DPO",
    "PPO": "tutelage.algorithms.ppo:PPO",
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
