"""Writing an answer token by token, as a Gymnasium environment: the task of `ppo`, for agents from anywhere.

    observation  tokens  pad pad prompt prompt │ answer answer pad pad     the answer always begins in the same column
                 mask     0   0    1      1    │   1      1     0   0
    action       the next token
    reward       −kl · drift on every token; the score when the answer is over
    end          stop token: terminated · length limit: terminated *and* truncated

At the length limit the score is paid and nothing follows, so an agent that bootstraps there with its value function
would be paid twice, and learn not to stop. Both flags together say what is true: cut off, and over. Stable-Baselines3
and our own algorithms then expect 0 afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

from tutelage.batches import TokenBatch
from tutelage.data import formats
from tutelage.data.template import Renderer
from tutelage.envs.words import word_tokenizer
from tutelage.errors import DataError, UsageError
from tutelage.models.load import load_tokenizer
from tutelage.models.policy import Policy
from tutelage.models.reference import Reference
from tutelage.rewards import RewardSource
from tutelage.rewards.function import Function
from tutelage.types import Prompt, Sample, plain

Observation = dict[str, NDArray[Any]]
LogProb = Callable[[Sequence[int], int], float]
"""(tokens so far, next token) → its log-probability in nats."""
AgentLogProb = Callable[[Observation, int], float]
"""(observation, action) → the agent's own log-probability of it in nats."""


class TextEnv(gymnasium.Env[Observation, np.int64]):
    """One episode is one answer to one prompt.

    Example:
        >>> env = gymnasium.make("tutelage.envs:tutelage/Text-v0", prompts=["sky"], words=["blue"], reward=score)
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step(1)
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["ansi"], "render_fps": 4}  # pyright: ignore[reportIncompatibleVariableOverride]
    agent: AgentLogProb | None = None
    """what the agent itself says of its actions; without it the price is only the reference's half of the drift"""

    def __init__(
        self,
        prompts: Sequence[Prompt],
        renderer: Renderer,
        reward: RewardSource,
        *,
        actions: int,
        max_new_tokens: int = 16,
        missing_stop_penalty: float = 0.0,
        reference: LogProb | None = None,
        kl: float = 0.0,
        render_mode: str | None = None,
    ) -> None:
        """As `make_text`, of parts; actions are the token ids 0 … `actions` − 1.

        Raises:
            UsageError: a number makes no sense, there is no prompt, or a price without a reference.
        """
        _check(prompts, actions, max_new_tokens, missing_stop_penalty, kl, reference)
        self.prompts = tuple(prompts)
        self.renderer = renderer
        self.reward = reward
        self.max_new_tokens = max_new_tokens
        self.missing_stop_penalty = missing_stop_penalty
        self.reference = reference
        self.kl = kl
        self.render_mode = render_mode
        self._encoded = [renderer.prompt(prompt.content) for prompt in self.prompts]
        pad: Any = renderer.tokenizer.pad_token_id
        self._pad = int(pad)
        self._room = max(map(len, self._encoded))
        width = self._room + max_new_tokens
        self.action_space = gymnasium.spaces.Discrete(actions)
        self._actions = actions
        space: Any = gymnasium.spaces.Dict(
            {
                "tokens": gymnasium.spaces.MultiDiscrete([len(renderer.tokenizer)] * width),
                "mask": gymnasium.spaces.MultiBinary(width),
            }
        )
        self.observation_space = space
        self._place, self._episode, self._drift, self._over = 0, -1, 0.0, True
        self._answer: list[int] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an answer to a prompt drawn uniformly, or to that with the id `options["prompt"]`.

        Raises:
            UsageError: no prompt has that id.
        """
        super().reset(seed=seed)
        self._place = int(self.np_random.integers(len(self.prompts)))
        if options and "prompt" in options:
            self._place = self._named(options["prompt"])
        self._episode = 0 if seed is not None else self._episode + 1
        self._answer, self._drift, self._over = [], 0.0, False
        return self._observe(), self._info("", {})

    def step(self, action: np.int64) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Write one token.

        Raises:
            UsageError: the episode is over, or there is no such action.
            TutelageError: whatever the reward source raises.
        """
        token = int(action)
        if self._over:
            raise UsageError("this episode is over", fix="call reset() first")
        if not self.action_space.contains(token):
            raise UsageError(f"there is no action {token}", fix=f"0 to {self._actions - 1}")
        drift = self._drift_of(token)
        self._drift += drift
        self._answer.append(token)
        stopped = token in self.renderer.stop_ids
        self._over = stopped or len(self._answer) == self.max_new_tokens
        reward, text, parts = -self.kl * drift, self._text(stopped), dict[str, float]()
        if self._over:
            score, parts = self._score(text, stopped)
            reward += score
        info = self._info(text, parts)
        if self._over:
            info["finish"] = "stop" if stopped else "length"
        return self._observe(), reward, self._over, self._over and not stopped, info

    def render(self) -> str | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The prompt and the answer so far."""
        if self.render_mode != "ansi":
            return None
        return f"{plain(self.prompts[self._place].content)} → {self._text(False)}"

    def _named(self, name: str) -> int:
        for place, prompt in enumerate(self.prompts):
            if prompt.id == name:
                return place
        raise UsageError(f"no prompt has the id {name!r}", fix=f"such as {self.prompts[0].id!r}")

    def _drift_of(self, token: int) -> float:
        """log π − log π_ref of the token, or −log π_ref where the agent does not say what π is; in nats."""
        if self.reference is None or not self.kl:
            return 0.0
        own = 0.0 if self.agent is None else float(self.agent(self._observe(), token))
        return own - float(self.reference([*self._encoded[self._place], *self._answer], token))

    def _score(self, text: str, stopped: bool) -> tuple[float, dict[str, float]]:
        prompt = self.prompts[self._place]
        sample = Sample(f"{prompt.id}/{self._episode}", prompt, text, "stop" if stopped else "length")
        scores = self.reward.score([sample])
        parts = {name: float(part[0]) for name, part in scores.parts.items()} | {"score": float(scores.value[0])}
        missing = 0.0 if stopped else -self.missing_stop_penalty
        return parts["score"] + missing, parts | {"missing_stop": missing, "drift": self._drift}

    def _text(self, stopped: bool) -> str:
        tokens = self._answer[:-1] if stopped else self._answer
        return str(self.renderer.tokenizer.decode(tokens, skip_special_tokens=True)).replace("\0", "\ufffd")

    def _observe(self) -> Observation:
        prompt = self._encoded[self._place]
        before, after = self._room - len(prompt), self.max_new_tokens - len(self._answer)
        tokens = [self._pad] * before + [*prompt, *self._answer] + [self._pad] * after
        mask = [0] * before + [1] * (len(prompt) + len(self._answer)) + [0] * after
        return {"tokens": np.array(tokens, dtype=np.int64), "mask": np.array(mask, dtype=np.int8)}

    def _info(self, text: str, parts: dict[str, float]) -> dict[str, Any]:
        return {"prompt": self.prompts[self._place].id, "text": text, "parts": parts}


def make_text(
    *,
    prompts: str | Path | Sequence[str | Prompt],
    reward: RewardSource | Callable[[str, str], float],
    words: Sequence[str] = (),
    model: str | Path = "",
    max_new_tokens: int = 16,
    missing_stop_penalty: float = 0.0,
    reference: LogProb | None = None,
    kl: float = 0.0,
    render_mode: str | None = None,
) -> TextEnv:
    """What `gymnasium.make("tutelage/Text-v0", …)` calls.

    Args:
        prompts: a file in any prompt format of docs/formats.md, or the prompts themselves
        reward: a reward source, or a function of (prompt, completion); called once, when the answer is over
        words: the answers' vocabulary; action 0 stops, action i writes `words[i − 1]`
        model: instead of `words`, a folder or hub id whose tokenizer is the vocabulary; actions are its token ids
        max_new_tokens: longest answer, in tokens
        missing_stop_penalty: taken from the score of an answer that was cut off; `ppo` takes 1
        reference: log-probability of a token given those before it; `log_prob_of(load_policy(…))` for a model's
        kl: price of a nat of drift from the reference, on every token. log π is asked of `env.unwrapped.agent`. Where
            that is not set, only −log π_ref is charged, which has *another optimum* unless the agent adds
            kl · its entropy to the return itself
        render_mode: `ansi` or None

    Raises:
        UsageError: both or neither of `words` and `model`, or numbers that make no sense.
        DataError: a file that is not what its format promises.
    """
    if bool(words) == bool(model):
        raise UsageError("the vocabulary must be one thing", fix="give either words=[…] or model=FOLDER")
    rows = _prompts(prompts)
    if words:
        rows = [Prompt(row.id, plain(row.content), row.meta) for row in rows]
        tokenizer = word_tokenizer(words, (plain(row.content) for row in rows))
    else:
        tokenizer = load_tokenizer(str(model))
    return TextEnv(
        rows,
        Renderer(tokenizer),
        reward if isinstance(reward, RewardSource) else Function(reward),
        actions=len(words) + 1 if words else len(tokenizer),
        max_new_tokens=max_new_tokens,
        missing_stop_penalty=missing_stop_penalty,
        reference=reference,
        kl=kl,
        render_mode=render_mode,
    )


def log_prob_of(policy: Policy, temperature: float = 1.0) -> LogProb:
    """A model as the reference: as it is now, frozen; one forward over all tokens so far for each call."""
    reference = Reference(policy)

    def log_prob(before: Sequence[int], token: int) -> float:
        batch = TokenBatch.of([([*before, token], [False] * len(before) + [True])])
        return float(reference.logprobs(batch, temperature).logprobs[0, 0])

    return log_prob


def _prompts(prompts: str | Path | Sequence[str | Prompt]) -> list[Prompt]:
    if isinstance(prompts, str | Path):
        return list(formats.load([str(prompts)], "prompt"))
    return [row if isinstance(row, Prompt) else Prompt(str(number), row) for number, row in enumerate(prompts)]


def _check(
    prompts: Sequence[Prompt], actions: int, length: int, penalty: float, kl: float, reference: LogProb | None
) -> None:
    if not prompts:
        raise DataError("there is no prompt to answer", fix="give at least one")
    fine: Mapping[str, bool] = {
        f"actions = {actions}": actions >= 2,
        f"max_new_tokens = {length}": length >= 1,
        f"missing_stop_penalty = {penalty}": penalty >= 0,
        f"kl = {kl}": kl >= 0,
    }
    for what, holds in fine.items():
        if not holds:
            raise UsageError(f"{what} makes no sense", fix="at least 2 actions, 1 token, and no negative price")
    if kl and reference is None:
        raise UsageError(f"kl = {kl} without a reference to drift from", fix="reference=…, or kl=0")
