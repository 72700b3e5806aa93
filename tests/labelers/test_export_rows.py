"""Streamed rows are those of the whole project read at once; the same in Parquet; what TRL reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tutelage.cli.main import main
from tutelage.data import formats, jsonl, parquet
from tutelage.data.writing import Writer
from tutelage.errors import DataError
from tutelage.labelers import _desk
from tutelage.labelers._consensus import Consensus, Weighting, consensus
from tutelage.labelers._export import Export, Wanted
from tutelage.labelers._pairing import Pairing, questions
from tutelage.labelers.simulated import DEFAULT, Simulated
from tutelage.store import export
from tutelage.store.decisions import Decisions
from tutelage.store.store import Store
from tutelage.store.stream import cut_of
from tutelage.types import Comparison, Judgement, Message, Prompt, Sample

MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])
TRL = {
    "preference": {"prompt": "text", "chosen": "text", "rejected": "text"},
    "unpaired": {"prompt": "text", "completion": "text", "label": pa.bool_()},
    "demonstration": {"prompt": "text", "completion": "text"},
}
"""The columns of TRL's page "Dataset formats and types" (preference with an explicit prompt, unpaired preference,
prompt-completion); `text` is a string, or a list of {role, content} in its conversational format."""


def taste(_meta: Mapping[str, Any], text: str) -> dict[str, float]:
    quality = (sum(map(ord, text)) * 7919 % 1000) / 1000
    return dict.fromkeys(("faithful", "concise", "fluent", "safe", "overall"), quality)


def judged(db: Path, chat: bool = True, prompts: int = 25) -> Store:
    store = Store(db)
    said = [
        Sample(f"p{n}-{j}", prompt, f"answer {j} to {n}", model=f"m{j % 2}")
        for n in range(prompts)
        for prompt in [Prompt(f"p{n}", (Message("user", f"概括 {n}"),) if chat else f"概括 {n}\n", {"n": n})]
        for j in range(4)
    ]
    store.ask(questions(said, "default", Pairing(seed=3)).comparisons, overlap=3)
    Simulated(DEFAULT, taste, 3).label(store)
    edits = [Comparison(f"edit-{one.id}", "edit", one.prompt, (one,)) for one in said[::4]]
    store.ask(edits)
    store.answer_many([Judgement(f"e{one.id}", one.id, "ada", edit=f"better {one.id}") for one in edits])
    for number, row in enumerate(store.judgements()[:40:4]):
        store.withdraw(row.id, f"undo-{number}")
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return judged(tmp_path_factory.mktemp("db") / "ratings.db")


@pytest.mark.parametrize("weights", ["reliability", "none"])
@pytest.mark.parametrize("pool", [True, False])
def test_streamed_rows_are_those_of_the_project_read_at_once(store: Store, weights: Weighting, pool: bool) -> None:
    found = consensus(store, weighting=weights, pool=pool, without=["bo"])
    makers: dict[str, Callable[[Consensus], export.Exported]] = {
        "ranking": lambda f: export.rankings(f.comparisons, f.judgements, f.weights),
        "rated": lambda f: export.ratings(f.comparisons, f.judgements, f.weights),
        "unpaired": lambda f: export.unpaired(f.votes, f.model.first, f.comparisons, f.judgements, f.weights),
        "per-rater": lambda f: export.single_preferences(f.votes, f.weights),
        "preference": lambda f: export.preferences(f.votes, f.model.first, f.model.ties, weighted=weights != "none"),
        "demonstration": lambda f: export.demonstrations(f.comparisons, f.judgements),
    }
    for kind, whole in makers.items():
        made = Export(store, "default", Wanted(kind, weights, pool), without=["bo"])
        streamed = list(made.rows())
        expected = whole(found)
        for part, rows in (("rows", expected.rows), ("ties", expected.ties)):
            assert sorted(_text(row) for name, row in streamed if name == part) == sorted(map(_text, rows)), (
                kind,
                part,
            )
        assert dict(made.counts) == dict(expected.counts) and expected.rows
        assert list(made.rows()) == streamed  # a second reading gives the same
        assert sum(made.judged.values()) == len(found.judgements)


def _text(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, sort_keys=True)


def test_known_answers_teach_whom_to_believe_and_are_no_votes(tmp_path: Path) -> None:
    with judged(tmp_path / "gold.db", prompts=12) as store:
        pairs = [asked for asked in store.comparisons() if asked.kind == "pair"][:10]
        store.answer_many([Judgement(f"g{asked.id}", asked.id, "gold", (2, 1)) for asked in pairs])
        found = consensus(store)
        whole = export.preferences(found.votes, found.model.first, found.model.ties)
        made = Export(store, "default", Wanted("preference"))
        rows = [row for part, row in made.rows() if part == "rows"]
    known = {"|".join(sorted(said.id for said in asked.candidates)): asked.candidates[1].id for asked in pairs}
    expected = [row for row in whole.rows if row["meta"]["item"] not in known]
    assert sorted(_text(row) for row in rows if row["meta"]["item"] not in known) == sorted(map(_text, expected))
    decided = {row["meta"]["item"]: row["meta"]["samples"][0] for row in rows if row["meta"]["item"] in known}
    assert decided == known
    assert "gold" not in made.judged and "gold" not in made.weights


def test_good_and_bad_come_from_the_kinds_of_question_that_were_named_and_no_others(store: Store) -> None:
    made = list(Export(store, "default", Wanted("unpaired", "none", pool=False, sources=("ranking",))).rows())
    found = consensus(store, weighting="none", pool=False)
    ranked = [vote for vote in found.votes if vote.kind == "ranking"]
    expected = export.unpaired(ranked, found.model.first, [], [], {}).rows
    assert sorted(_text(row) for _, row in made) == sorted(map(_text, expected)) and expected
    assert list(Export(store, "default", Wanted("unpaired", "none", sources=("scores",))).rows())


@pytest.mark.parametrize("weights", ["reliability", "none"])
def test_a_decision_stands_above_what_the_raters_said_whatever_it_says(tmp_path: Path, weights: Weighting) -> None:
    prompts = [Prompt(f"p{n}", f"question {n}") for n in range(4)]
    asked = [
        Comparison(f"q{n}", "pair", prompt, (Sample(f"{n}a", prompt, "one"), Sample(f"{n}b", prompt, "two")))
        for n, prompt in enumerate(prompts)
    ]
    with Store(tmp_path / "r.db") as store:
        store.ask(asked, overlap=3)
        said = {"q0": (1, 2), "q1": (1, 2), "q2": (1, 1), "q3": (1, 1)}
        for rater in ("ann", "bo", "cleo"):
            store.answer_many([
                Judgement(f"{rater}-{name}", name, rater, ranks, both_bad=name == "q3") for name, ranks in said.items()
            ])  # fmt: skip
        decisions = Decisions(store.database)
        for number, answer in enumerate(((1, 1), (1, 1), (2, 1), (2, 1)), start=1):
            told = Judgement("", "", "", answer, both_bad=number == 2)
            decisions.decide("default", number, told, actor="admin")
        made = list(Export(store, "default", Wanted("preference", weights)).rows())
        good = [row for _, row in Export(store, "default", Wanted("unpaired", weights)).rows()]
    rows = {row["meta"]["item"]: row for part, row in made if part == "rows"}
    ties = {row["meta"]["item"]: row for part, row in made if part == "ties"}
    assert {row["chosen"] for row in rows.values()} == {"two"} and rows.keys() == {"2a|2b", "3a|3b"}
    assert {row["weight"] for row in rows.values()} == {1.0}
    assert {item: row["both_bad"] for item, row in ties.items()} == {"0a|0b": False, "1a|1b": True}
    assert {row["weight"] for row in ties.values()} == {1.0}
    bad = sorted(row["meta"]["samples"][0] for row in good if not row["label"])
    assert bad == ["1a", "1b", "2a", "3a"], "equal says nothing of either, both bad says it of both"


def test_an_export_is_that_of_its_moment_while_people_rate(tmp_path: Path) -> None:
    with judged(tmp_path / "r.db") as store:
        before = list(Export(store, "default", Wanted("preference")).rows())
        made = Export(store, "default", Wanted("preference"), cut_of(store.database))
        asked = [question.id for question in store.comparisons() if question.kind == "pair"]
        rows: list[Any] = []
        for number, row in enumerate(made.rows()):
            if number < len(asked):
                store.answer(Judgement(f"late-{number}", asked[number], f"late-{number % 3}", (2, 1)))
            rows.append(row)
        assert rows == before
        assert list(Export(store, "default", Wanted("preference")).rows()) != before


@pytest.mark.parametrize("kind", ["preference", "unpaired", "ranking", "rated", "demonstration", "per-rater", "raw"])
def test_parquet_holds_the_same_rows_as_json_lines(store: Store, tmp_path: Path, kind: str) -> None:
    for ending in ("jsonl", "parquet"):
        with Writer(tmp_path / f"rows.{ending}") as file:
            for row in _desk.rows_of(store, "default", kind):
                file.add(row)
    lines = [row.data for row in jsonl.read(tmp_path / "rows.jsonl")]
    packed = [row.data for row in parquet.read(tmp_path / "rows.parquet")]
    assert packed == lines and len(lines) > 20
    if kind not in ("raw", "per-rater"):
        choice: Any = kind
        one, two = (formats.load(tmp_path / f"rows.{ending}", choice) for ending in ("jsonl", "parquet"))
        assert [(row.prompt, row.meta) for row in one] == [(row.prompt, row.meta) for row in two]


@pytest.mark.parametrize("chat", [True, False], ids=["messages", "strings"])
@pytest.mark.parametrize("kind", list(TRL))
@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
def test_files_have_exactly_the_columns_and_types_of_trl(tmp_path: Path, kind: str, chat: bool, ending: str) -> None:
    judged(tmp_path / "r.db", chat, prompts=6).close()
    out = tmp_path / f"rows.{ending}"
    words = ["--db", str(tmp_path / "r.db"), "--out", str(out), "--kind", kind, "--columns", "trl", "--quiet"]
    assert main(["rate", "export", *words]) == 0
    table: Any = pq.read_table(out) if ending == "parquet" else pa.Table.from_pylist([r.data for r in jsonl.read(out)])
    wanted = {
        name: told if told != "text" else (pa.list_(MESSAGE) if chat else pa.string())
        for name, told in TRL[kind].items()
    }
    assert set(table.column_names) == set(wanted)
    for name, told in wanted.items():
        found = table.schema.field(name).type
        if pa.types.is_list(told):  # the order of a struct's fields is nobody's business
            assert {field.name: field.type for field in found.value_type} == {
                field.name: field.type for field in MESSAGE
            }
        else:
            assert found == told, name
    for row in table.to_pylist():
        texts = [row[name] for name, told in TRL[kind].items() if told == "text"]
        assert all(texts), "no empty prompt or completion"
        if chat:
            assert [text[-1]["role"] for text in texts] == ["user", *["assistant"] * (len(texts) - 1)]


def test_strings_and_messages_do_not_fit_into_one_column_of_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="strings or messages, not both"), Writer(tmp_path / "x.parquet") as file:
        file.add({"prompt": "a", "completion": "b"})
        file.add({"prompt": [{"role": "user", "content": "a"}], "completion": [{"role": "assistant", "content": "b"}]})
    assert list(tmp_path.iterdir()) == []


def test_no_file_is_left_where_nothing_is_to_be_exported(tmp_path: Path) -> None:
    with Store(tmp_path / "r.db") as store:
        prompt = Prompt("p", "?")
        said = (Sample("a", prompt, "a"), Sample("b", prompt, "b"))
        store.ask([Comparison("q", "pair", prompt, said)])
    assert main(["rate", "export", "--db", str(tmp_path / "r.db"), "--out", str(tmp_path / "x.jsonl")]) == 65
    assert [path.name for path in tmp_path.iterdir() if "x" in path.name] == []
