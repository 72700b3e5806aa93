"""Talk to a model in the terminal: it sees the whole conversation; /reset forgets it, /exit or Ctrl-D ends."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import DataError
from tutelage.types import Message, Prompt


@dataclass(frozen=True, kw_only=True)
class Config:
    model: str
    """folder or hub id"""
    prompt: str = ""
    """ask only this, print the answer and end"""
    system: str = ""
    """a system message before the conversation"""
    plain: bool = False
    """no chat template: each line is text to be continued, as for a pretrained model"""
    max_new_tokens: int = 256
    """longest answer, in tokens"""
    temperature: float = 0.7
    """1 = as trained; lower is safer, higher is wilder"""
    top_p: float = 1.0
    """draw from the smallest set of tokens with this much probability"""
    greedy: bool = False
    """always take the likeliest token"""
    seed: int = 0
    """the same seed and conversation give the same answers"""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """of matrix products"""
    engine: Literal["auto", "fast", "plain"] = "auto"
    """how answers are sampled: by our own decoder in C++ where it knows the model (auto; fast: or not at all), or by
    PyTorch (plain), to the same distribution but for rounding"""
    device: str = "auto"
    """cpu, cuda … ; auto = the accelerator where there is one"""
    positional: ClassVar[str] = "model"


def run(resolved: Resolved[Config], ui: UI) -> int:
    """Answer one prompt, or line after line from the terminal or a pipe."""
    config = resolved.config
    answer = _answerer(config, ui.warn)
    start = [Message("system", config.system)] if config.system else []
    history = list(start)
    asked = iter([config.prompt]) if config.prompt else _lines(ui)
    for text in asked:
        if text in ("/exit", "/quit"):
            break
        if text == "/reset":
            history = list(start)
            continue
        history.append(Message("user", text))
        try:
            said = answer(text if config.plain else tuple(history), len(history))
        except DataError as error:
            if config.prompt:
                raise
            ui.warn(f"{error.what}; /reset begins anew")
            history.pop()
            continue
        history.append(Message("assistant", said))
        ui.say(said)
        ui.result({"prompt": text, "completion": said})
    return 0


def _lines(ui: UI) -> Iterator[str]:
    """What is typed or piped in, without empty lines."""
    typed = sys.stdin.isatty()
    if typed:
        importlib.import_module("readline")  # gives input() arrow keys and a history
    while True:
        try:
            line = input("> ") if typed else sys.stdin.readline()
        except EOFError:
            return
        if not typed and not line:
            return
        if line.strip():
            yield line.strip()


def _answerer(config: Config, warn: Callable[[str], None]) -> Callable[[str | tuple[Message, ...], int], str]:
    from tutelage.data.template import Renderer
    from tutelage.models.load import load_policy
    from tutelage.sampling import Sampling
    from tutelage.sampling.fast import Fast

    policy = load_policy(config.model, dtype=config.dtype, device=config.device, engine=config.engine)
    renderer = Renderer(policy.tokenizer)
    settings = {name: getattr(config, name) for name in ("max_new_tokens", "temperature", "top_p", "greedy")}
    sampler = Fast(renderer, Sampling(**settings), say=warn)

    def answer(content: str | tuple[Message, ...], turn: int) -> str:
        tokens = len(renderer.prompt(content))
        if policy.max_positions and tokens >= policy.max_positions:
            raise DataError(f"the conversation has {tokens} tokens, the model can take {policy.max_positions}")
        rollouts = sampler.sample(policy, [Prompt(f"turn-{turn}", content)], 1, config.seed)
        return rollouts.samples[0].text.strip()

    return answer
