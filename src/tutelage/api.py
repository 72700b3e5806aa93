"""The Python interface: one call per training command, with the command's own settings as keywords.

import tutelage as tt

run = tt.PPO(model="runs/sft/model", data=["Say hello."], reward=lambda prompt, answer: -len(answer), out="runs/ppo")
run.train()
print(run.metrics()[-1]["reward/mean"], run.model)
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tutelage import registry
from tutelage.config import Resolved, resolve
from tutelage.errors import UsageError
from tutelage.types import Prompt

Data = str | Path | Sequence[str | Prompt | Mapping[str, Any]]
"""A file, or rows: prompts as strings, or dictionaries in any format of docs/formats.md."""
Reward = str | Path | Callable[[str, str], float]
"""A reward-model folder, a name as in `--reward`, or a function of (prompt, completion)."""

_GIVEN = "given.jsonl"


@dataclass(frozen=True)
class Training:
    """A training run that is ready to start, or to go on where it stopped."""

    command: str
    """the training command, as on the command line"""
    resolved: Resolved[Any]
    """its settings, checked"""
    reward: Callable[[str, str], float] | None = None
    """the function that was given as reward"""
    rows: str | None = None
    """rows that were given from Python, as JSON lines"""
    cost: Callable[[str, str], float] | None = None
    """the function that was given as cost"""

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.resolved.config.out)

    @property
    def model(self) -> Path:
        """The trained model, a plain Hugging Face folder; there once `train` has returned."""
        return self.folder / "model"

    def train(self, *, dry_run: bool = False) -> Training:
        """Run to the end, as the command does; returns itself.

        Raises:
            TutelageError: whatever the command would end with.
        """
        from tutelage import build
        from tutelage.rewards.function import Function

        reward, cost = (one and Function(one) for one in (self.reward, self.cost))
        given = build.Given(reward=reward, cost=cost) if reward or cost else None
        with self._settings(dry_run) as resolved:
            build.train(self.command, resolved, dry_run=dry_run, given=given)
        return self

    @contextmanager
    def _settings(self, dry_run: bool) -> Iterator[Resolved[Any]]:
        """With the rows that were given as a file: of the run folder, or of a passing one for a dry run."""
        from tutelage.train import durable, folder

        if self.rows is None:
            yield self.resolved
        elif dry_run:
            with tempfile.TemporaryDirectory() as passing:
                path = Path(passing) / _GIVEN
                path.write_text(self.rows, encoding="utf-8")
                yield replace(self.resolved, config=replace(self.resolved.config, data=str(path)))
        else:
            folder.make(self.folder)
            durable.write_text(self.folder / _GIVEN, self.rows)
            yield self.resolved

    def metrics(self) -> list[dict[str, float]]:
        """The numbers in `metrics.jsonl` so far, one dictionary per line; alarms and warnings are left out."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        return [line for line in map(json.loads, lines) if "event" not in line]


class FromRows(Protocol):
    """A training command that learns from rows."""

    def __call__(self, *, model: str | Path, data: Data, out: str | Path, **settings: Any) -> Training: ...


class FromJudgements(Protocol):
    """A training command that learns from judgements, by some kinds (`kind="ridge"`) without a model."""

    def __call__(self, *, data: Data, out: str | Path, model: str | Path = "", **settings: Any) -> Training: ...


class FromReward(Protocol):
    """A training command that answers prompts and learns from a reward."""

    def __call__(
        self, *, model: str | Path, data: Data, reward: Reward, out: str | Path, **settings: Any
    ) -> Training: ...


def _command(name: str) -> Any:
    def call(*, data: Data, out: str | Path, **settings: Any) -> Training:
        return training(name, data=data, out=out, **settings)

    call.__name__ = call.__qualname__ = name.replace("-", "_")
    call.__doc__ = f"As `tutelage {name}`, whose settings are its keywords: model, data, out … (see `--help`)."
    return call


def pretrain(*, data: Data, out: str | Path, model: str | Path = "new", **settings: Any) -> Training:
    """Learn a language from plain text (`tutelage pretrain`)."""
    return training("pretrain", data=data, out=out, model=model, **settings)


sft: FromRows = _command("sft")
reward: FromJudgements = _command("reward")
dpo: FromRows = _command("dpo")
kto: FromRows = _command("kto")
orpo: FromRows = _command("orpo")
simpo: FromRows = _command("simpo")
cpo: FromRows = _command("cpo")
ppo: FromReward = _command("ppo")
a2c: FromReward = _command("a2c")
reinforce: FromReward = _command("reinforce")
rloo: FromReward = _command("rloo")
grpo: FromReward = _command("grpo")
online_dpo: FromReward = _command("online-dpo")
best_of_n: FromReward = _command("best-of-n")


def __getattr__(name: str) -> Any:
    """Every other file in `algorithms/` is a function here too, without a line of its own."""
    if (command := name.replace("_", "-")) in registry.names("algorithms"):
        return _command(command)
    raise AttributeError(f"module 'tutelage.api' has no attribute {name!r}")


def training(command: str, *, data: Data, out: str | Path, **settings: Any) -> Training:
    """Any training command by its name; `reward` and `cost` may be functions, `model` and others may be paths."""
    from tutelage.algorithms import Algorithm

    kind = registry.find("algorithms", command, Algorithm)
    rows = None if isinstance(data, (str, Path)) else _as_lines(data)
    where = str(data) if rows is None else str(Path(out) / _GIVEN)
    flags = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    functions: dict[str, Any] = {key: flags[key] for key in ("reward", "cost") if callable(flags.get(key))}
    for key, function in functions.items():
        own = getattr(function, "__qualname__", type(function).__name__)
        flags[key] = f"{getattr(function, '__module__', 'python')}:{own}"
    resolved = resolve(kind.Config, flags=flags | {"data": where, "out": str(out)})
    return Training(command, resolved, functions.get("reward"), rows, functions.get("cost"))


def _as_lines(rows: Sequence[str | Prompt | Mapping[str, Any]]) -> str:
    """Rows given from Python as JSON lines: so they are checked, remembered and found again like a file's."""
    lines: list[str] = []
    for number, row in enumerate(rows):
        if isinstance(row, str):
            plain: Mapping[str, Any] = {"prompt": row}
        elif isinstance(row, Prompt):
            content = row.content
            turns = content if isinstance(content, str) else [{"role": m.role, "content": m.content} for m in content]
            plain = {"id": row.id, "prompt": turns, "meta": dict(row.meta)}
        else:
            plain = row
        try:
            lines.append(json.dumps(plain, ensure_ascii=False))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"row {number} cannot be written as JSON: {error}", fix="use strings, numbers, lists and dicts"
            ) from error
    return "".join(line + "\n" for line in lines)
