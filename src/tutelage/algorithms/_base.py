"""What an algorithm promises: a batch (`collect`), and what is wrong with the model on it (`loss`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Protocol, TypeVar

from torch import nn

from tutelage.algorithms._range import allowed
from tutelage.algorithms._watch import WatchRule
from tutelage.batches import Batch, Loss
from tutelage.data.formats import Kind
from tutelage.data.template import Encoded, Renderer
from tutelage.errors import UsageError
from tutelage.models.heads import Heads
from tutelage.models.policy import Engine, Policy, Scorer
from tutelage.models.reference import Reference
from tutelage.rewards import RewardSource
from tutelage.sampling import Sampler
from tutelage.statistics.evidence import RewardEvidence
from tutelage.types import Preference, Prompt, Ranking, Rated, Unpaired

if TYPE_CHECKING:
    from tutelage.algorithms._known_reference import KnownReference

Schedule = Literal["constant", "linear", "cosine"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What every training command understands."""

    model: str = ""
    """folder or hub id of the model to start from"""
    data: str = ""
    """what to train on: a JSONL or Parquet file, or several separated by commas"""
    out: str = ""
    """run folder; the same command on the same folder goes on where it stopped"""
    eval_data: str = ""
    """held-out rows of the same kind, measured on --eval-every and at the end"""
    seed: int = 0
    """of everything random"""
    steps: int = 0
    """optimiser steps; 0 = as many as --epochs need"""
    epochs: float = 1.0
    """passes over the data, where --steps is not given"""
    batch_size: int = 32
    """sequences (pairs, prompts) per optimiser step; micro-batches are chosen automatically"""
    learning_rate: float = 1e-4
    """peak learning rate"""
    schedule: Schedule = "linear"
    """how the learning rate falls after the warm-up"""
    warmup: float = 0.03
    """share of the steps over which the learning rate rises"""
    weight_decay: float = 0.0
    """AdamW's, on matrices only"""
    max_grad_norm: float = 1.0
    """gradients are scaled down to this norm"""
    adam_beta1: float = 0.9
    """AdamW's first moment"""
    adam_beta2: float = 0.999
    """AdamW's second moment"""
    adam_eps: float = 1e-8
    """AdamW's epsilon"""
    max_length: int = 1024
    """longest sequence, prompt and answer together, in tokens; longer rows are refused"""
    on_bad: Literal["error", "skip"] = "error"
    """what to do with rows that cannot be used: stop, or leave them out and say how many"""
    tokens_per_part: int = 0
    """tokens in one forward pass (micro-batch); 0 = chosen automatically; never changes the result"""
    gradient_checkpointing: Literal["auto", "on", "off"] = "auto"
    """compute layers again in the backward pass instead of keeping what is in them: less memory, a third more work,
    the same result. auto = for a row that would not fit otherwise"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """of matrix products; weights, losses and optimiser stay float32. auto = bfloat16 on accelerators and on processors
    that multiply it (AMX, AVX-512 BF16), from 8 million parameters up; else float32"""
    engine: Engine = "auto"
    """how layers are computed: by our own loops in C++ where they know the model (auto; fast: or not at all), or by
    PyTorch alone (plain), to the same results but for rounding"""
    deterministic: bool = False
    """on a GPU: the same bits from the same run, at a price; on a processor runs repeat to the bit without it"""
    device: str = "auto"
    """cpu, cuda … ; auto = the accelerator where there is one"""
    lora: bool = False
    """train a low-rank adapter instead of all weights"""
    lora_rank: int = 16
    """rank of the adapter"""
    lora_alpha: float = 32.0
    """scale of the adapter"""
    lora_targets: str = "all-linear"
    """layers that get an adapter"""
    save_every: int = 0
    """steps between checkpoints; 0 = ten in the run"""
    keep: int = 2
    """checkpoints to keep (at least 2)"""
    log_every: int = 1
    """steps between lines of metrics.jsonl"""
    eval_every: int = 0
    """steps between evaluations; 0 = at the end only"""
    max_minutes: float = 0.0
    """stop after this much wall time; 0 = no limit"""

    def __post_init__(self) -> None:
        for name, fine in self.sane().items():
            if not fine:
                raise UsageError(
                    f"{name} = {getattr(self, name)} makes no sense, wanted {allowed(self, name)}",
                    fix=f"see --help for --{name.replace('_', '-')}",
                )

    def reads_ties(self) -> bool:
        """Whether preferences may be ties, with which this method can do something."""
        return False

    def scorer_heads(self) -> Heads | None:
        """What labels the scorer that is trained shall have; None = as its folder has them."""
        return None

    def watches(self) -> WatchRule:
        """What to do when a score that is not trained on (`eval/gold`) parts from the reward."""
        return WatchRule()

    def sane(self) -> dict[str, bool]:
        """Whether each number lies where it means something; every subclass adds its own settings."""
        limits = {"batch_size": 1, "steps": 0, "max_length": 2, "seed": 0, "lora_rank": 1, "tokens_per_part": 0}
        limits |= {"save_every": 0, "log_every": 0, "eval_every": 0, "weight_decay": 0, "max_grad_norm": 0}
        return {name: getattr(self, name) >= limit for name, limit in (limits | {"max_minutes": 0}).items()} | {
            "epochs": self.epochs > 0,
            "learning_rate": self.learning_rate > 0,
            "warmup": 0 <= self.warmup <= 1,
            "adam_beta1": 0 <= self.adam_beta1 < 1,
            "adam_beta2": 0 <= self.adam_beta2 < 1,
            "adam_eps": self.adam_eps > 0,
        }


class Parts(Protocol):
    """The toolbox that `build` hands to an algorithm: each part is made when it is first asked for."""

    @property
    def policy(self) -> Policy: ...
    @property
    def reference(self) -> Reference: ...
    @property
    def known_reference(self) -> KnownReference: ...
    @property
    def scorer(self) -> Scorer: ...
    @property
    def critic(self) -> Scorer: ...
    @property
    def cost_critic(self) -> Scorer: ...
    @property
    def reward(self) -> RewardSource: ...
    @property
    def cost(self) -> RewardSource: ...
    @property
    def watch(self) -> RewardSource | None: ...
    @property
    def sampler(self) -> Sampler: ...
    @property
    def renderer(self) -> Renderer: ...
    @property
    def documents(self) -> Rows[Encoded]: ...
    @property
    def demonstrations(self) -> Rows[Encoded]: ...
    @property
    def preferences(self) -> Rows[EncodedPair]: ...
    @property
    def unpaired(self) -> Rows[EncodedUnpaired]: ...
    @property
    def rankings(self) -> Rows[EncodedRanking]: ...
    @property
    def ratings(self) -> Rows[EncodedRated]: ...
    @property
    def prompts(self) -> Rows[Prompt]: ...


Row = TypeVar("Row", covariant=True)
C = TypeVar("C", bound=TrainConfig)
B = TypeVar("B", bound=Batch)


class Rows(Protocol, Generic[Row]):
    """Training rows in their order, and the held-out ones."""

    @property
    def rows(self) -> Sequence[Row]:
        """All training rows."""
        ...

    def batch(self, step: int) -> Sequence[Row]:
        """The rows of optimiser step `step`: a pure function of the seed and the step."""
        ...

    @property
    def held_out(self) -> Sequence[Row]:
        """Rows of `--eval-data`; may be empty."""
        ...


@dataclass(frozen=True)
class EncodedPair:
    """A preference, tokenised."""

    chosen: Encoded
    rejected: Encoded
    row: Preference


@dataclass(frozen=True)
class EncodedUnpaired:
    """One answer that was called good or bad, tokenised."""

    answer: Encoded
    row: Unpaired


@dataclass(frozen=True)
class EncodedRanking:
    """Several ranked answers, tokenised."""

    answers: tuple[Encoded, ...]
    row: Ranking


@dataclass(frozen=True)
class EncodedRated:
    """An answer with its scores, tokenised."""

    answer: Encoded
    row: Rated


class Algorithm(ABC, Generic[C, B]):
    """One training method, with configuration C, on batches B.

    Classes are abstract or final: a method that is written here is not overridden twice.
    """

    Config: ClassVar[type[TrainConfig]] = TrainConfig
    kind: ClassVar[Kind]
    """what rows `--data` holds"""

    def __init__(self, config: C, parts: Parts) -> None:
        self.config = config
        self.parts = parts
        self.total = 0
        """steps of the whole run; 0 = not known"""

    @classmethod
    def rows_of(cls, config: C) -> Kind:
        """What rows `--data` holds under these settings; most methods read one kind only."""
        return cls.kind

    @abstractmethod
    def collect(self, step: int) -> B:
        """The experience of one step: read, or made by the policy. Builds no graph."""

    @abstractmethod
    def loss(self, batch: B) -> Loss:
        """A mean over `weight` tokens or pairs; the only place where gradients live."""

    @abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """What is trained, by name; the first is what `export` writes."""

    def learning_rates(self) -> dict[str, float]:
        """Peak learning rate of each module."""
        return dict.fromkeys(self.modules(), self.config.learning_rate)

    def minibatches(self, experience: B, step: int) -> Iterator[B]:
        """What the optimiser steps on, in order: read experience once, as it is."""
        yield experience

    def enough(self, metrics: Mapping[str, float]) -> bool:
        """Whether to leave the rest of this step's minibatches after one with these metrics."""
        return False

    def preflight(self, batch: B) -> dict[str, float]:
        """Identities that must hold before the first step.

        Raises:
            DivergedError: one does not.
        """
        return {}

    def metrics(self) -> dict[str, float]:
        """Numbers of the last `collect`."""
        return {}

    def texts(self) -> list[dict[str, Any]]:
        """A few answers of the last `collect`, to be read by people."""
        return []

    def evaluate(self) -> dict[str, float]:
        """Numbers on held-out rows, as `eval/…`."""
        return {}

    def evidence(self) -> RewardEvidence | None:
        """What the report of a reward model is made of, when all steps are done; None for other methods."""
        return None

    def stop(self) -> str | None:
        """Why the whole run should end now, in words; None = go on."""
        return None

    def dismiss(self) -> None:
        """The run ends here: let go of what was begun for a step that will not come."""

    def state(self) -> dict[str, Any]:
        """What `restore` needs besides weights, as JSON."""
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""

    def export(self, folder: Path) -> None:
        """Write the trained model as a plain Hugging Face folder."""
        module = next(iter(self.modules().values()))
        assert isinstance(module, (Policy, Scorer))
        module.save(folder)
