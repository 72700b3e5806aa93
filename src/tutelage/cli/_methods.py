"""What `tutelage plan` knows of each method: what it reads, what it holds in memory, how steady it is, when it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FEW = 500
"""judgements below which a classical reward model is named first; Gao et al. 2023 (2210.10760) saw large neural ones
near chance below 2,000 comparisons"""


@dataclass(frozen=True)
class Method:
    """One training command."""

    reads: tuple[str, ...]
    """kinds of rows that it, or a `--kind` of it, reads as they are"""
    converted: tuple[str, ...] = ()
    """kinds that `tutelage data convert` makes into one of those"""
    reference: bool = False
    """compares with a frozen copy (free under LoRA)"""
    sampled: bool = False
    """learns from its own answers, which a reward scores"""
    critics: int = 0
    """trained models of the policy's size beside it"""
    scorers: int = 0
    """frozen models that score answers, each taken to be of the policy's size"""
    sides: int = 1
    """answers per row"""
    passes: float = 1.0
    """times that each token is learned from"""
    extra: int = 0
    """further forward passes over each token"""
    steady: str = ""
    """how it behaves over seeds and settings"""


_PAIRS = ("ranking", "rated")
METHODS: Mapping[str, Method] = {
    "pretrain": Method(("text",), steady="very steady"),
    "sft": Method(("demonstration",), ("preference",), steady="very steady"),
    "reward": Method(("preference", "ranking", "rated"), sides=2, steady="steady; overfits after one epoch"),
    "cost": Method(("preference",), (), sides=2, steady="steady; needs to know which answers are harmful"),
    "dpo": Method(("preference",), _PAIRS, reference=True, sides=2, steady="steady; drifts where no pair lies"),
    "cpo": Method(("preference",), _PAIRS, sides=2, steady="steady; nothing but its likelihood term holds it back"),
    "orpo": Method(("preference",), _PAIRS, sides=2, steady="steady; no separate SFT needed"),
    "simpo": Method(("preference",), _PAIRS, sides=2, steady="sensitive to beta and learning rate"),
    "kto": Method(("unpaired",), ("preference",), reference=True, extra=4, steady="steady; wants both labels"),
    "best-of-n": Method(("prompt",), sampled=True, scorers=1, passes=1 / 8, steady="very steady; gains end early"),
    "online-dpo": Method(("prompt",), sampled=True, scorers=1, steady="steady"),
    "reinforce": Method(("prompt",), sampled=True, scorers=1, steady="noisy: one answer per prompt has no rival"),
    "rloo": Method(("prompt",), sampled=True, scorers=1, steady="steady; unbiased, no critic to tune"),
    "grpo": Method(("prompt",), sampled=True, scorers=1, steady="steady; near-ties become full updates with std"),
    "a2c": Method(("prompt",), sampled=True, critics=1, scorers=1, steady="leans on its critic"),
    "ppo": Method(("prompt",), sampled=True, critics=1, scorers=1, passes=4, steady="steady once tuned; most settings"),
    "ppo-lagrangian": Method(
        ("prompt",), sampled=True, critics=2, scorers=2, passes=4, steady="two critics and a price to settle"
    ),
}  # fmt: skip
"""Every file of `algorithms/` (a test compares)."""


def fitting(kind: str | None) -> tuple[str, ...]:
    """The methods that can learn from this kind of rows, directly or converted; all of them when it is not known."""
    return tuple(
        name for name, method in METHODS.items() if kind is None or kind in method.reads or kind in method.converted
    )


@dataclass(frozen=True)
class Choice:
    """A recommendation."""

    commands: tuple[str, ...]
    """in order; `tutelage` and the files left out"""
    why: str


def choose(kind: str | None, judgements: int, fits: frozenset[str]) -> Choice:
    """Which method for this many judgements of this kind, among those that fit into memory (docs/choosing.md).

    Args:
        judgements: pairs, rankings, scores or labels in the file; 0 = not known.
        fits: names that fit, with or without LoRA.
    """
    online = next((name for name in ("rloo", "best-of-n") if name in fits), "best-of-n")
    if kind == "text":
        return Choice(("pretrain",), "plain text teaches a language, no behaviour")
    if kind == "demonstration":
        return Choice(("sft",), "demonstrations are learned by imitation; people's preferences come after that")
    if kind == "prompt":
        why = "prompts alone hold no judgement: a reward must score the answers (a function, a model, people)"
        return Choice((f"{online} --reward …",), f"{why}; {online} needs no critic and has fewest settings")
    if kind == "unpaired":
        return Choice(("kto",), "single answers called good or bad are what KTO learns from; pairs are not needed")
    scorer = {"ranking": "reward --kind plackett-luce", "rated": "reward --kind pointwise"}.get(kind or "", "reward")
    if kind in ("preference", "ranking", "rated") and 0 < judgements < FEW:
        small = "reward --kind ridge" if kind == "rated" else "reward --kind svm-pair"
        why = f"{judgements} judgements are too few for a neural reward model (below {FEW}): a classical one is fitted"
        return Choice((small, f"{online} --reward RUN/model"), f"{why} in seconds, and answers are then sampled anew")
    if kind == "preference":
        why = "pairs teach the policy directly, without a reward model or sampling; where more compute is at hand"
        return Choice(("dpo",), f"{why}, `reward` and then `{online}` go further at the same drift")
    if kind in ("ranking", "rated"):
        why = "rankings and scores say more than pairs: a reward model takes them as they are"
        return Choice(
            (scorer, f"{online} --reward RUN/model"), f"{why}; made into pairs (`data convert`), dpo is cheaper"
        )
    return Choice(
        ("pretrain", "sft", "dpo"),
        "no data was named: the usual order, each from the model before; --data FILE tells more",
    )
