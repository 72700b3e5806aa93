"""The toolbox: makes each part that an algorithm asks for, from the configuration."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tutelage.algorithms._base import EncodedPair, EncodedRanking, EncodedRated, EncodedUnpaired
from tutelage.algorithms._known_reference import KnownReference
from tutelage.data import formats
from tutelage.data._labels import barren, hollow, require_lesson, swapped
from tutelage.data.check import check, leaked
from tutelage.data.loader import Order
from tutelage.data.template import DEFAULT_TEMPLATE, Encoded, Renderer, chunks
from tutelage.errors import DataError, UsageError
from tutelage.labelers._database import is_database
from tutelage.models.load import load_policy, load_scorer, load_tokenizer, max_positions
from tutelage.models.lora import LoRA
from tutelage.models.new import Shape, save_new
from tutelage.models.policy import Policy, Scorer
from tutelage.models.reference import Reference
from tutelage.ops.seeds import derive
from tutelage.rewards import RewardSource
from tutelage.rewards._named import hinted, model_of
from tutelage.sampling import Sampler, Sampling
from tutelage.types import Demonstration, Preference, Prompt, Ranking, Rated, TextRow, Unpaired

if TYPE_CHECKING:
    from tutelage.labelers._trainer import Trainer

if TYPE_CHECKING:  # the checker sees no descriptor in `cached_property` when it compares a class with a protocol
    from builtins import property as cached_property
else:
    from functools import cached_property

T = TypeVar("T")
Say = Callable[[str], None]
_SHOWN_PROBLEMS = 20


@dataclass(frozen=True)
class InOrder(Generic[T]):
    """Rows, and the order in which steps read them."""

    rows: Sequence[T]
    order: Order
    held_out: Sequence[T]

    def batch(self, step: int) -> list[T]:
        """The rows of one step."""
        return [self.rows[index] for index in self.order.indices(step)]


@dataclass(frozen=True)
class Given:
    """Python objects in the place of names in the config."""

    reward: RewardSource | None = None
    rows: Sequence[Any] | None = None
    cost: RewardSource | None = None


class Toolbox:
    """Makes each part that an algorithm asks for when it is first asked for (see `algorithms.Parts`)."""

    def __init__(
        self,
        config: Any,
        folder: Path,
        say: Say,
        given: Given | None = None,
        *,
        warn: Say | None = None,
        careful: bool = False,
    ) -> None:
        """
        Args:
            warn: says what must be heard, even where `say` is quiet; the same as `say` without it.
            careful: look at the data as `tutelage data check` does, which takes a while for large files.
        """
        self.config = config
        self.folder = folder
        self.say = say
        self.warn = warn or say
        self.careful = careful
        self.given = given or Given()
        self._said: set[str] = set()
        self.trainer: Trainer | None = None
        """the run whose answers people may be asked about; None = nobody is asked"""

    @cached_property
    def start(self) -> str:
        """The model to start from; `new` is made first, in the run folder."""
        if self.config.model != "new":
            return self.config.model
        folder = self.folder / "start"
        if not folder.is_dir():
            shape = Shape(**{name: getattr(self.config, name) for name in Shape.__dataclass_fields__})
            draft = self.folder / f".tmp-start-{os.getpid()}"
            draft.mkdir(parents=True, exist_ok=True)
            save_new(draft, [row.text for row in self._texts[0]], shape, self.config.seed)
            draft.replace(folder)
        return str(folder)

    @cached_property
    def _texts(self) -> tuple[Sequence[TextRow], Sequence[TextRow]]:
        return self._load(self.config.data, "text", self.given.rows), self._load(self.config.eval_data, "text")

    @cached_property
    def lora(self) -> LoRA | None:
        """The adapter that was asked for."""
        config = self.config
        return (
            LoRA(rank=config.lora_rank, alpha=config.lora_alpha, targets=config.lora_targets) if config.lora else None
        )

    @cached_property
    def policy(self) -> Policy:
        return self._told(
            load_policy(
                self.start,
                dtype=self.config.dtype,
                device=self.config.device,
                lora=self.lora,
                seed=self.config.seed,
                engine=self.config.engine,
            )
        )

    @cached_property
    def reference(self) -> Reference:
        return Reference(self.policy)

    @cached_property
    def known_reference(self) -> KnownReference:
        size, folder = self.config.batch_size, self.folder / "reference"
        return KnownReference(self.policy, self.preferences, size, folder, self.say)

    @cached_property
    def scorer(self) -> Scorer:
        return self._told(self._scorer(self.start, "keep", self.lora, heads=self.config.scorer_heads()))

    @cached_property
    def critic(self) -> Scorer:
        return self._critic("critic", self.config.critic_init, "reward", self.config.reward)

    @cached_property
    def cost_critic(self) -> Scorer:
        return self._critic("cost-critic", self.config.cost_critic_init, "cost", self.config.cost)

    def _critic(self, flag: str, init: str, source: str, name: str) -> Scorer:
        if init == source and (model := model_of(name)):
            critic = hinted(model, lambda: self._scorer(model, "trained", None, single=True))
        else:
            critic = self._scorer(self.start if init in ("zero", source) else init, "zero", None, single=True)
        self._told(critic)
        if critic.tokenizer.get_vocab() != self.policy.tokenizer.get_vocab():
            raise UsageError(f"the {flag} would read other tokens than the policy writes", fix=f"--{flag}-init zero")
        return critic

    def _scorer(self, path: str, head: str, lora: LoRA | None, **more: Any) -> Scorer:
        config = self.config
        seed, where = derive(config.seed, "head"), {"dtype": config.dtype, "device": config.device}
        return load_scorer(path, **where, lora=lora, head=head, seed=seed, engine=config.engine, **more)

    def _told(self, backbone: Any) -> Any:
        """Also asked in the parts that were asked for, before an optimiser has chosen any."""
        if self.config.tokens_per_part:
            backbone.room.tokens = self.config.tokens_per_part
        for line in (f"{backbone.name}: {note}" for note in backbone.notes):
            if line not in self._said:
                self.say(line)
                self._said.add(line)
        return backbone

    @cached_property
    def reward(self) -> RewardSource:
        if self.given.reward is not None:
            return self.given.reward
        return self._reward(self.config.reward)

    @cached_property
    def cost(self) -> RewardSource:
        if self.given.cost is not None:
            return self.given.cost
        from tutelage.rewards._lack import PREFIX, Lack

        if not self.config.cost:
            raise UsageError("nothing says what harm costs", fix="--cost FOLDER, or any name that --reward takes")
        if self.config.cost.startswith(PREFIX):
            return Lack.named(self.config.cost, self._reward)
        return self._reward(self.config.cost)

    @cached_property
    def watch(self) -> RewardSource | None:
        return self._reward(self.config.watch, watched=True) if self.config.watch else None

    def _reward(self, name: str, *, watched: bool = False) -> RewardSource:
        from tutelage.labelers._scores import asking
        from tutelage.rewards._named import Tools, named

        asked = asking(self.say, self.warn, None if watched else self.trainer)
        home = {"db": getattr(self.config, "db", ""), "project": getattr(self.config, "project", "")}
        return named(name, Tools(self._learned, asked, self.folder / "judged", self.warn, **home), watched=watched)

    def _learned(self, name: str, lower: float) -> RewardSource:
        from tutelage.rewards.learned import Learned

        how = {"dtype": self.config.dtype, "device": self.config.device, "engine": self.config.engine}
        scorer = self._told(load_scorer(name, **how, head="trained"))
        self._heed_template(name, scorer.tokenizer)
        return Learned(scorer, Renderer(scorer.tokenizer), lower=lower)

    def _heed_template(self, name: str, theirs: Any) -> None:
        """Warn of a reward model that would read the same chat otherwise than the policy writes it."""
        ours: Any = self.renderer.tokenizer
        if ours.chat_template == theirs.chat_template or all(isinstance(row.content, str) for row in self.prompts.rows):
            return
        if theirs.chat_template == DEFAULT_TEMPLATE or theirs.get_vocab() == ours.get_vocab():
            self.warn(
                f"{name} renders chats with another template than {self.config.model}: its scores mean something only "
                "if it was trained with that one; else copy the policy's chat_template into its tokenizer"
            )

    @cached_property
    def renderer(self) -> Renderer:
        limit = min(self.config.max_length, max_positions(self.start) or self.config.max_length)
        return Renderer(load_tokenizer(self.start), limit)

    @cached_property
    def sampler(self) -> Sampler:
        from tutelage.sampling.fast import Fast

        sampling = Sampling(max_new_tokens=self.config.max_new_tokens, temperature=self.config.temperature)
        return Fast(self.renderer, sampling, say=self.say)

    @cached_property
    def documents(self) -> InOrder[Encoded]:
        length = self.config.max_length

        def cut(rows: Sequence[TextRow]) -> list[Encoded]:
            return chunks(
                (Renderer(self.renderer.tokenizer).document(row.text) for row in rows), length, join=self.config.join
            )

        train, held_out = self._texts
        return self._ordered(cut(train), cut(held_out))

    @cached_property
    def demonstrations(self) -> InOrder[Encoded]:
        renderer = self.renderer

        def encode(row: Demonstration) -> Encoded:
            return renderer.answer(row.prompt, row.completion)

        return self._read("demonstration", encode)

    @cached_property
    def preferences(self) -> InOrder[EncodedPair]:
        answer = self.renderer.answer

        def encode(row: Preference) -> EncodedPair:
            if row.tie and not self.config.reads_ties():
                raise DataError("the pair is a tie, which prefers neither")
            return EncodedPair(answer(row.prompt, row.chosen), answer(row.prompt, row.rejected), row)

        return self._read("preference", encode, ties=self.config.reads_ties())

    @cached_property
    def unpaired(self) -> InOrder[EncodedUnpaired]:
        def encode(row: Unpaired) -> EncodedUnpaired:
            return EncodedUnpaired(self.renderer.answer(row.prompt, row.completion), row)

        return self._read("unpaired", encode)

    @cached_property
    def rankings(self) -> InOrder[EncodedRanking]:
        def encode(row: Ranking) -> EncodedRanking:
            return EncodedRanking(tuple(self.renderer.answer(row.prompt, text) for text in row.completions), row)

        return self._read("ranking", encode)

    @cached_property
    def ratings(self) -> InOrder[EncodedRated]:
        def encode(row: Rated) -> EncodedRated:
            return EncodedRated(self.renderer.answer(row.prompt, row.completion), row)

        return self._read("rated", encode)

    @cached_property
    def prompts(self) -> InOrder[Prompt]:
        renderer, answer = self.renderer, self.config.max_new_tokens
        limit = renderer.max_length or self.config.max_length

        def check(row: Prompt) -> Prompt:
            left = limit - (tokens := len(renderer.prompt(row.content)))
            if left < answer:
                raise DataError(
                    f"the prompt has {tokens} tokens, which leaves {left} of {limit} for an answer of {answer}"
                )
            return row

        return self._read("prompt", check)

    def _read(self, kind: str, encode: Callable[[Any], T], *, ties: bool = False) -> InOrder[T]:
        learned = self._load(self.config.data, kind, self.given.rows, ties=ties)
        held_out = self._load(self.config.eval_data, kind, ties=ties)
        self._heed(learned, held_out)
        return self._ordered(self._encoded(learned, encode), self._encoded(held_out, encode))

    def _heed(self, learned: Sequence[Any], held_out: Sequence[Any]) -> None:
        """Warn of data that would be learned from without an error, to no good."""
        if seen := leaked(learned, held_out):
            self.warn(f"{len(seen)} of {len(held_out)} prompts of --eval-data are learned on too: eval/… will flatter")
        require_lesson(learned, self.config.data)
        if reason := barren(held_out):
            self.warn(f"{self.config.eval_data}: {reason}, and nothing is measured on them")
        if self.careful:
            for oddity in check(learned).warnings:
                self.warn(f"{self.config.data}: {oddity}")
        else:
            for oddity in [*swapped(learned), *hollow(learned)]:
                self.warn(f"{self.config.data}: {oddity} (see `tutelage data check`)")
        if self.config.eval_every and not self.config.eval_data:
            self.warn("--eval-every measures nothing without --eval-data")

    def _ordered(self, rows: Sequence[T], held_out: Sequence[T]) -> InOrder[T]:
        if not rows:
            raise DataError(
                "no rows are left to train on", where=self.config.data, fix="check the data with `tutelage data check`"
            )
        if self.config.eval_data and not held_out:
            raise DataError(
                "no rows are left to evaluate on",
                where=self.config.eval_data,
                fix="check it with `tutelage data check`, or leave --eval-data out: nothing would be measured",
            )
        return InOrder(rows, Order(len(rows), self.config.batch_size, self.config.seed), held_out)

    def _load(self, paths: str, kind: str, given: Sequence[Any] | None = None, *, ties: bool = False) -> Sequence[Any]:
        if given is not None:
            return given
        if not paths:
            return []
        choices: Any = kind
        if is_database(paths):
            from tutelage.labelers._feedback import load as feedback

            loaded: Any = feedback(paths, kind, on_bad=self.config.on_bad, ties=ties, folder=self.folder)
        else:
            loaded = formats.load(paths.split(","), choices, on_bad=self.config.on_bad, ties=ties)
        for note in loaded.report.lines():
            self.say(note)
        return loaded

    def _way_out(self, error: DataError) -> str:
        if error.fix and "--max-length" not in error.fix:
            return error.fix
        positions = max_positions(self.start)
        if positions is not None and self.config.max_length >= positions:
            return f"the model reads {positions} tokens and no more: mend the rows"
        return "raise --max-length, or mend the rows"

    def _encoded(self, rows: Sequence[Any], encode: Callable[[Any], T]) -> list[T]:
        """Tokenise rows; all that do not fit are named together, or left out and counted."""
        done: list[T] = []
        problems: list[str] = []
        ways_out = dict[str, None]()
        for row in rows:
            try:
                done.append(encode(row))
            except DataError as error:
                ways_out[self._way_out(error)] = None
                problems.append(f"{getattr(row, 'where', '') or getattr(row, 'id', '')}: {error.what}")
        if problems and self.config.on_bad == "error":
            shown = "\n  ".join(problems[:_SHOWN_PROBLEMS])
            more = f"\n  … and {len(problems) - _SHOWN_PROBLEMS} more" if len(problems) > _SHOWN_PROBLEMS else ""
            raise DataError(
                f"{len(problems)} of {len(rows)} rows cannot be used:\n  {shown}{more}",
                fix=f"{'; '.join(ways_out)}; or leave the rows out with --on-bad skip",
            )
        if problems:
            tell = self.warn if 2 * len(problems) > len(rows) else self.say
            tell(f"left out {len(problems)} of {len(rows)} rows, the first: {problems[0]}")
        return done
