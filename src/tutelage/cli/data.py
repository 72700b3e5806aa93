"""Look at, check and convert data: rendered text, token ids, loss mask, problems with file:line:column."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from tutelage.cli._ui import UI
from tutelage.config import Resolved
from tutelage.errors import UsageError

AutoKind = Literal["auto", "text", "prompt", "demonstration", "preference", "unpaired", "ranking", "rated"]
TargetKind = Literal["text", "prompt", "demonstration", "preference", "unpaired", "ranking", "rated"]


@dataclass(frozen=True, kw_only=True)
class Source:
    """Which rows to read."""

    data: tuple[str, ...]
    """Files (.jsonl, .json, .parquet, also .gz) or folders."""
    kind: AutoKind = "auto"
    """What the rows are; auto = as the columns of the first row say."""
    columns: str = ""
    """Rename columns: OURS=THEIRS,… such as prompt=question,completion=answer."""
    on_bad: Literal["error", "skip"] = "error"
    """Stop at bad rows, or leave them out and count them."""


@dataclass(frozen=True, kw_only=True)
class InspectConfig(Source):
    """Flags of `data inspect`."""

    model: str = ""
    """Whose tokenizer and chat template to use (folder or hub id); without it only the rows are shown."""
    limit: int = 5
    """How many rows."""
    start: int = 0
    """How many rows to pass over first."""
    ids: bool = True
    """Show token ids."""
    positional: ClassVar[str] = "data"


@dataclass(frozen=True, kw_only=True)
class CheckConfig(Source):
    """Flags of `data check`."""

    against: str = ""
    """Another file, such as the test split: report prompts that both have."""
    model: str = ""
    """Count tokens with its tokenizer (else characters)."""
    max_length: int = 0
    """With --model: rows of more tokens are problems (0 = no limit)."""
    positional: ClassVar[str] = "data"


@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """Flags of `data convert`."""

    data: tuple[str, ...]
    """Files (.jsonl, .json, .parquet, also .gz) or folders."""
    out: Path
    """The file to write: .jsonl or .jsonl.gz."""
    kind: TargetKind
    """What the rows are to become."""
    source: AutoKind = "auto"
    """What the rows are; auto = as the columns of the first row say."""
    columns: str = ""
    """Rename columns: OURS=THEIRS,… such as prompt=question,completion=answer."""
    on_bad: Literal["error", "skip"] = "error"
    """Stop at bad rows, or leave them out and count them."""
    chat: bool = False
    """Turn string prompts and completions into user and assistant messages."""
    min_gap: float = 0.0
    """For ratings to preferences: by more than what share of the scale (0-1) two scores must differ."""
    positional: ClassVar[str] = "data"


@dataclass(frozen=True, kw_only=True)
class MakeConfig:
    """Flags of `data make`."""

    source: str = "news"
    """Which made-up world: a file in data/sources."""
    out: Path
    """Folder to write into."""
    seed: int = 0
    """Same seed, same bytes."""
    documents: int = 0
    """Texts for pretraining (0 = the source's own number)."""
    demonstrations: int = 0
    """Instruction-answer pairs (0 = the source's own number)."""
    prompts: int = 0
    """Prompts to train on (0 = the source's own number)."""
    positional: ClassVar[str] = "source"


def inspect(resolved: Resolved[InspectConfig], ui: UI) -> int:
    """Show rows as the model will see them."""
    from tutelage.data.inspect import answers, sequences, show
    from tutelage.types import TextRow, plain

    config = resolved.config
    kind, rows = _load(config, ui)
    renderer = _renderer(config.model) if config.model else None
    colour = sys.stdout.isatty()
    if renderer is not None:
        learned = "green" if colour else "between ⟦ and ⟧"
        ui.say(f"{kind} data; learned tokens are {learned}")
    for row in rows[config.start : config.start + config.limit]:
        ui.say(f"\n── {_where(row)}")
        if renderer is None:
            parts = [("text", row.text)] if isinstance(row, TextRow) else [("prompt", _asked(row)), *answers(row)]
            for name, content in parts:
                ui.say(f"[{name}] {plain(content)}")
            continue
        for name, encoded in sequences(renderer, row):
            counts, text, *ids = show(renderer, encoded, colour=colour, ids=config.ids)
            ui.say("\n".join([f"[{name}] {counts}", text, *ids]))
            ui.result({"where": _where(row), "part": name, "tokens": encoded.tokens, "mask": encoded.mask})
    return 0


def check(resolved: Resolved[CheckConfig], ui: UI) -> int:
    """List every problem; then lengths, duplicates, contradictions and leaks."""
    from tutelage.data.check import check as look
    from tutelage.data.formats import load

    config = resolved.config
    kind, rows = _load(config, ui)
    against = (
        load(config.against, kind, on_bad=config.on_bad, columns=_columns(config.columns)) if config.against else []
    )
    renderer = _renderer(config.model) if config.model else None
    count: Callable[[str], int] | None = None
    special: list[str] = []
    if renderer is not None:
        tokenizer: Any = renderer.tokenizer
        special = [str(token) for token in tokenizer.added_tokens_decoder.values()]
        count = lambda text: len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])  # noqa: E731
        _refuse_long(renderer, rows, config.max_length)
    found = look(rows, against=against, count=count, special=special)
    ui.table([vars(lengths) for lengths in found.lengths], f"{kind}: {found.rows} rows")
    for name, value in found.facts.items():
        ui.say(f"{name}: {value:.4g}")
    for warning in found.warnings:
        ui.warn(warning)
    ui.say("no problems" if not found.warnings else f"{len(found.warnings)} warnings, no bad rows")
    lengths = [vars(one) for one in found.lengths]
    ui.result({"kind": kind, "facts": dict(found.facts), "lengths": lengths, "warnings": list(found.warnings)})
    return 0


def convert(resolved: Resolved[ConvertConfig], ui: UI) -> int:
    """Write the rows as another kind of data."""
    from tutelage.data import jsonl
    from tutelage.data.convert import convert as change
    from tutelage.data.convert import to_dict
    from tutelage.data.formats import as_chat, detect_kind, load

    config = resolved.config
    if not config.out.name.endswith((".jsonl", ".jsonl.gz")):
        raise UsageError(f"--out {config.out} does not end in .jsonl or .jsonl.gz", fix="choose another name")
    columns = _columns(config.columns)
    source = detect_kind(config.data, columns) if config.source == "auto" else config.source
    rows = load(config.data, source, on_bad=config.on_bad, columns=columns)
    for line in rows.report.lines():
        ui.say(line)
    made, left_out = change(rows, source, config.kind, min_gap=config.min_gap)
    if config.chat and config.kind != "text":
        made = [as_chat(row) for row in made]
    count = jsonl.write(config.out, (to_dict(row) for row in made))
    for reason, times in left_out.items():
        ui.say(f"left out {times}: {reason}")
    ui.say(f"{len(rows)} {source} rows → {count} {config.kind} rows in {config.out}")
    ui.result({"source": source, "kind": config.kind, "read": len(rows), "written": count, "left_out": dict(left_out)})
    return 0


def make(resolved: Resolved[MakeConfig], ui: UI) -> int:
    """Write the files of a made-up world to try everything on."""
    import importlib

    from tutelage import registry

    config = resolved.config
    choices = registry.names("data/sources")
    if config.source not in choices:
        raise UsageError(f"'{config.source}' is no source of data", fix=f"choose one of {', '.join(choices)}")
    source = importlib.import_module(f"tutelage.data.sources.{config.source.replace('-', '_')}")
    sizes = {
        name: getattr(config, name) for name in ("documents", "demonstrations", "prompts") if getattr(config, name)
    }
    written: dict[str, int] = source.make(config.out, seed=config.seed, **sizes)
    for name, count in written.items():
        ui.say(f"{config.out / name}: {count} rows")
    ui.result(written)
    return 0


def _load(config: Source, ui: UI) -> tuple[Any, Any]:
    from tutelage.data.formats import detect_kind, load

    columns = _columns(config.columns)
    kind = detect_kind(config.data, columns) if config.kind == "auto" else config.kind
    rows = load(config.data, kind, on_bad=config.on_bad, columns=columns)
    for line in rows.report.lines():
        ui.say(line)
    return kind, rows


def _columns(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    bad = [name for name, equals, theirs in pairs if not (name.strip() and equals and theirs.strip())]
    if bad:
        raise UsageError(
            f"--columns {text}: '{bad[0]}' is not OURS=THEIRS", fix="--columns prompt=question,completion=answer"
        )
    return {name.strip(): theirs.strip() for name, _, theirs in pairs}


def _renderer(model: str) -> Any:
    from tutelage.data.template import Renderer
    from tutelage.models.load import load_tokenizer

    return Renderer(load_tokenizer(model))


def _refuse_long(renderer: Any, rows: Any, limit: int) -> None:
    from tutelage.data.inspect import sequences
    from tutelage.data.jsonl import Problems
    from tutelage.errors import DataError
    from tutelage.types import TextRow

    problems = Problems()
    for row in rows:
        if isinstance(row, TextRow):  # documents are cut, not refused
            continue
        try:
            longest = max(len(encoded) for _, encoded in sequences(renderer, row))
        except DataError as error:
            problems.add(_where(row), error.what, error.fix or "mend or remove the row")
            continue
        if limit and longest > limit:
            problems.add(
                _where(row), f"{longest} tokens are more than the limit of {limit}", "shorten or remove the row"
            )
    problems.raise_if_any()


def _where(row: Any) -> str:
    from tutelage.types import Prompt

    return row.id if isinstance(row, Prompt) else row.where


def _asked(row: Any) -> Any:
    from tutelage.types import Prompt

    return row.content if isinstance(row, Prompt) else row.prompt


VERBS: dict[str, tuple[type, Callable[..., int]]] = {
    "inspect": (InspectConfig, inspect),
    "check": (CheckConfig, check),
    "convert": (ConvertConfig, convert),
    "make": (MakeConfig, make),
}
