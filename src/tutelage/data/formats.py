"""Files → typed rows: text, prompt, demonstration, preference, unpaired, ranking, rated; docs/formats.md shows each.

    path ─ sources ─▶ Row ─ _layouts.open_row ─▶ Cells ─ _rows.BUILDERS[kind] ─▶ TextRow, Demonstration, Preference …
           jsonl · parquet   (Alpaca, ShareGPT)          (checks every value)

Nothing is dropped or changed silently: a bad row is an error, or, with on_bad="skip", counted with its reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, overload

from tutelage.data import jsonl, parquet
from tutelage.data._layouts import NEEDS, detect, guess, missing, open_row
from tutelage.data._rows import BUILDERS, COMPARISONS, same_scale
from tutelage.data.convert import RULES
from tutelage.data.jsonl import Problems, Row
from tutelage.errors import DataError, MissingInputError, UsageError
from tutelage.types import Demonstration, Preference, Prompt, Ranking, Rated, TextRow, Unpaired

Kind = Literal["text", "prompt", "demonstration", "preference", "unpaired", "ranking", "rated"]
OnBad = Literal["error", "skip"]
Paths = str | Path | Sequence[str | Path]
T = TypeVar("T")

KINDS: tuple[Kind, ...] = ("text", "prompt", "demonstration", "preference", "unpaired", "ranking", "rated")
_LINES = (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz")


@dataclass
class Report:
    """What reading found, for people."""

    files: tuple[str, ...] = ()
    rows: int = 0
    """rows in the result"""
    skipped: Counter[str] = field(default_factory=Counter[str])
    """reason → how many rows were left out"""
    examples: dict[str, str] = field(default_factory=dict[str, str])
    """reason → where it was met first"""
    extra: Counter[str] = field(default_factory=Counter[str])
    """columns that no format knows → how many rows have them; they are kept in `meta`"""
    notes: list[str] = field(default_factory=list[str])

    def lines(self) -> list[str]:
        """The report as sentences."""
        said = [f"{self.rows} rows from {', '.join(self.files)}"]
        for reason, count in self.skipped.most_common():
            said.append(f"left out {count}: {reason} (first at {self.examples[reason]})")
        if self.extra:
            said.append(f"other columns, kept in meta: {', '.join(sorted(self.extra))}")
        return said + self.notes


class Rows(list[T], Generic[T]):
    """The rows of one load, with its report."""

    def __init__(self, rows: Iterable[T], report: Report) -> None:
        super().__init__(rows)
        self.report = report

    @property
    def rows(self) -> list[T]:
        """The rows without the report."""
        return list(self)


@overload
def load(
    paths: Paths, kind: Literal["text"], *, on_bad: OnBad = ..., columns: Mapping[str, str] = ...
) -> Rows[TextRow]: ...
@overload
def load(
    paths: Paths, kind: Literal["prompt"], *, on_bad: OnBad = ..., columns: Mapping[str, str] = ...
) -> Rows[Prompt]: ...
@overload
def load(
    paths: Paths, kind: Literal["demonstration"], *, on_bad: OnBad = ..., columns: Mapping[str, str] = ...
) -> Rows[Demonstration]: ...
@overload
def load(
    paths: Paths,
    kind: Literal["preference"],
    *,
    on_bad: OnBad = ...,
    columns: Mapping[str, str] = ...,
    ties: bool = ...,
) -> Rows[Preference]: ...
@overload
def load(
    paths: Paths, kind: Literal["unpaired"], *, on_bad: OnBad = ..., columns: Mapping[str, str] = ...
) -> Rows[Unpaired]: ...
@overload
def load(
    paths: Paths, kind: Literal["ranking"], *, on_bad: OnBad = ..., columns: Mapping[str, str] = ...
) -> Rows[Ranking]: ...
@overload
def load(
    paths: Paths, kind: Literal["rated"], *, on_bad: OnBad = ..., columns: Mapping[str, str] = ...
) -> Rows[Rated]: ...
@overload
def load(
    paths: Paths, kind: Kind, *, on_bad: OnBad = ..., columns: Mapping[str, str] = ..., ties: bool = ...
) -> Rows[Any]: ...


def load(
    paths: Paths,
    kind: Kind,
    *,
    on_bad: OnBad = "error",
    columns: Mapping[str, str] | None = None,
    ties: bool = False,
) -> Rows[Any]:
    """Read, check and type all rows of one or several files or folders.

    Args:
        paths: files (.jsonl, .json, .parquet; the first two also .gz), folders of them, or `datasets` folders;
            a string may name several, joined by commas.
        kind: what the rows are to be.
        on_bad: `error` lists up to 20 problems and stops; `skip` leaves bad rows out and counts them by reason.
        columns: our name → the file's, where they differ and no known layout says so.
        ties: preferences only: take pairs that are ties, and rankings as their pairs, instead of refusing them.

    Raises:
        MissingInputError: no such file or folder.
        DataError: bad rows, wrong columns, no rows, or none left.
        UsageError: an unknown kind or file ending.
    """
    if kind not in KINDS:
        raise UsageError(f"'{kind}' is no kind of data", fix=f"choose one of {', '.join(KINDS)}")
    problems, report, made = Problems(), Report(), list[Any]()
    files = _split(paths)
    report.files = tuple(str(file) for file in files)
    ties = ties and kind == "preference"
    for file in files:
        rows = rows_of(file, problems)
        _take(rows, str(file), kind, dict(columns or {}), problems, report, made, ties=ties)
    return _finished(kind, on_bad, problems, report, made)


def typed(
    sources: Iterable[Iterable[Row]], name: str, kind: Kind, on_bad: OnBad = "error", *, ties: bool = False
) -> Rows[Any]:
    """`load` for rows that come from elsewhere than a file.

    Args:
        sources: rows with the same columns, or several of them with different ones.
        name: of where they come from, for people.
    """
    problems, report, made = Problems(), Report((name,)), list[Any]()
    for rows in sources:
        _take(rows, name, kind, {}, problems, report, made, ties=ties and kind == "preference")
    return _finished(kind, on_bad, problems, report, made)


def _finished(kind: Kind, on_bad: OnBad, problems: Problems, report: Report, made: list[Any]) -> Rows[Any]:
    if on_bad == "error":
        problems.raise_if_any()
    else:
        _count_skipped(problems, report)
    _refuse_repeated_ids(made)
    if kind == "rated":
        made = same_scale(made, report.notes)
    _note_mixture(made, report)
    if tied := sum(isinstance(row, Preference) and row.tie for row in made):
        report.notes.append(f"{tied} of {len(made)} pairs are ties")
    if not made:
        raise DataError("no rows are left", where=", ".join(report.files), fix="; ".join(report.lines()[1:]) or None)
    report.rows = len(made)
    return Rows(made, report)


def detect_kind(paths: Paths, columns: Mapping[str, str] | None = None) -> Kind:
    """What kind of data the first row of the first file is.

    Raises:
        DataError: none that is known; the message lists the columns and what each kind needs.
    """
    file = _split(paths)[0]
    problems = Problems()
    row = next(rows_of(file, problems), None)
    if row is None:
        problems.raise_if_any()
        raise DataError("there is no row to look at", where=str(file))
    found = detect(open_row(row, dict(columns or {})))
    if found is None:
        needs = "; ".join(f"{kind}: {' + '.join(names)}" for kind, names in NEEDS.items())
        raise DataError(
            f"the columns {', '.join(sorted(row.data))} fit no known kind of data",
            where=row.where,
            fix=f"rename columns with --columns OURS=THEIRS,…; needed are {needs}",
        )
    return next(kind for kind in KINDS if kind == found)


def require(path: Path) -> None:
    """
    Raises:
        MissingInputError: no such file or folder.
    """
    if not path.exists():
        where = path.parent if path.parent != Path() else Path.cwd()
        fix = "check the path; a data set of a hub must be downloaded first (hf download NAME --repo-type dataset)"
        raise MissingInputError(
            "no such file or folder", where=str(path if path.is_absolute() else where / path.name), fix=fix
        )


def rows_of(path: Path, problems: Problems) -> Iterator[Row]:
    """The raw rows of a file or folder.

    Raises:
        MissingInputError, UsageError, DataError: see `load`.
    """
    require(path)
    if path.is_dir():
        if parquet.is_saved_dataset(path):
            yield from parquet.read_saved_dataset(path)
            return
        inside = sorted(p for p in path.rglob("*") if p.is_file() and p.name.endswith((".parquet", *_LINES)))
        if not inside:
            raise MissingInputError("the folder holds no .jsonl, .json or .parquet file", where=str(path))
        for file in inside:
            yield from rows_of(file, problems)
    elif path.suffix == ".parquet":
        yield from parquet.read(path)
    elif path.name.endswith(_LINES):
        yield from jsonl.read(path, problems)
    else:
        raise UsageError(
            f"'{path.suffix or path.name}' is no known file ending",
            where=str(path),
            fix="give .jsonl, .json (either also .gz), .parquet, or a folder; convert others first",
        )


def _split(paths: Paths) -> list[Path]:
    if isinstance(paths, Path):
        return [paths]
    names = [name for name in paths.split(",") if name.strip()] if isinstance(paths, str) else list(paths)
    if not names:
        raise UsageError("no data file is named", fix="--data FILE.jsonl")
    return [Path(name.strip() if isinstance(name, str) else name) for name in names]


def _take(
    rows: Iterable[Row],
    name: str,
    kind: Kind,
    columns: dict[str, str],
    problems: Problems,
    report: Report,
    made: list[Any],
    *,
    ties: bool,
) -> None:
    build, first, notes = COMPARISONS if ties else BUILDERS[kind], True, Counter[str]()
    for row in rows:
        cells = open_row(row, columns)
        if first:
            _require_columns(row, "ranking" if ties and "completions" in cells else kind, columns)
        first = False
        try:
            built = build(cells, notes)
        except DataError as error:
            problems.add(error.where or row.where, error.what, error.fix or "mend or remove the row")
            continue
        made.extend(built)
        report.extra.update(cells.meta_columns())
    report.notes += [f"{name}: {note} ({count} rows)" for note, count in notes.items()]


def _require_columns(row: Row, kind: Kind, columns: dict[str, str]) -> None:
    """Refuse a whole file at its first row, with a mapping to try, rather than each row."""
    cells = open_row(row, columns)
    absent = missing(cells, kind)
    if not absent:
        return
    found = detect(cells)
    file = row.where.rpartition(":")[0]
    mapping = ",".join(f"{ours}={theirs}" for ours, theirs in guess(row.data, absent).items())
    if found is not None and (found, kind) in RULES:
        fix = f"this is {found} data: tutelage data convert {file} --kind {kind} --out NEW.jsonl"
    elif "…" not in mapping:
        fix = f"tutelage data convert {file} --source {kind} --kind {kind} --columns {mapping} --out NEW.jsonl"
    else:
        like = f"this looks like {found} data; " if found else ""
        fix = f"{like}name the columns: tutelage data convert {file} --source {kind} --kind {kind} --columns {mapping}"
    raise DataError(
        f"found the columns {', '.join(sorted(row.data))}; {kind} data needs {' + '.join(NEEDS[kind])}",
        where=row.place(),
        fix=fix,
    )


def _count_skipped(problems: Problems, report: Report) -> None:
    for reason, (count, where) in problems.reasons.items():
        report.skipped[reason] += count
        report.examples.setdefault(reason, where)


def _refuse_repeated_ids(made: Sequence[Any]) -> None:
    seen = Counter(row.id for row in made if isinstance(row, Prompt))
    repeated = [name for name, count in seen.items() if count > 1]
    if repeated:
        raise DataError(
            f"{len(repeated)} prompt ids are given more than once, such as {repeated[0]!r}",
            fix="give every prompt its own id, or none at all (then file and line are it)",
        )


def _note_mixture(made: Sequence[Any], report: Report) -> None:
    """String prompts get no chat template, messages do: say so where a load holds both."""
    contents = [row.content if isinstance(row, Prompt) else row.prompt for row in made if not isinstance(row, TextRow)]
    strings = sum(isinstance(content, str) for content in contents)
    if 0 < strings < len(contents):
        report.notes.append(
            f"{strings} prompts are plain strings (no chat template) and {len(contents) - strings} are messages "
            "(chat template): the model will see two styles"
        )


def as_chat(row: Any) -> Any:
    """The row with string prompts and completions turned into one user and one assistant message."""
    from tutelage.types import Message

    def turn(content: Any, role: str) -> Any:
        return (Message(role, content),) if isinstance(content, str) else content

    if isinstance(row, Prompt):
        return replace(row, content=turn(row.content, "user"))
    changed: dict[str, Any] = {"prompt": turn(row.prompt, "user")}
    for name in ("completion", "chosen", "rejected"):
        if name in row.__dataclass_fields__:
            changed[name] = turn(getattr(row, name), "assistant")
    if isinstance(row, Ranking):
        changed["completions"] = tuple(turn(answer, "assistant") for answer in row.completions)
    return replace(row, **changed)
