"""`--data feedback.db`: the rows of an export, the same ones at every restart, with what was read in the lineage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rating_room import questions
from tutelage.cli.main import main
from tutelage.data import formats
from tutelage.data.jsonl import write
from tutelage.errors import DataError, UsageError
from tutelage.labelers import _desk, _feedback
from tutelage.store.people import People
from tutelage.store.store import Store
from tutelage.types import Comparison, Judgement, Message, Prompt, Sample

SMALL = ["--steps", "2", "--batch-size", "4", "--max-length", "96", "--quiet", "--dtype", "float32"]


def judged(url: str, project: str = "news", count: int = 12) -> list[str]:
    """Pairs, an edit each and scores, judged by three; the ids of the pairs."""
    with Store(url) as store:
        asked: list[Comparison] = []
        for number in range(count):
            prompt = Prompt(f"{project}-p{number}", (Message("user", f"Why {number}?"),))
            said = [Sample(f"{prompt.id}-{j}", prompt, f"{'good' if j else 'bad'} {number}") for j in range(2)]
            asked += [
                Comparison(f"{prompt.id}-pair", "pair", prompt, tuple(said)),
                Comparison(f"{prompt.id}-edit", "edit", prompt, (said[0],)),
                Comparison(f"{prompt.id}-scores", "scores", prompt, (said[1],), ("fluent",)),
            ]
        store.ask(asked, project, overlap=3)
        given: list[Judgement] = []
        for one in asked:
            for rater in ("ann", "bo", "cy") if one.kind != "edit" else ("ann",):
                ranks = () if one.kind != "pair" else (2, 1) if rater != "bo" or int(one.prompt.id[-1]) % 3 else (1, 2)
                scores = {"fluent": 4.0} if one.kind == "scores" else {}
                edit = "A better one." if one.kind == "edit" else ""
                given.append(Judgement(f"{one.id}-{rater}", one.id, rater, ranks, scores, edit=edit))
        store.answer_many(given)
    return [one.id for one in asked if one.kind == "pair"]


@pytest.mark.parametrize("kind", ["preference", "unpaired", "rated", "demonstration"])
def test_rows_are_those_of_the_export(database_url: str, tmp_path: Path, kind: Any) -> None:
    judged(database_url)
    with Store(database_url) as store:
        write(tmp_path / "rows.jsonl", _desk.rows_of(store, "news", kind))
    rows: Any = formats.load(tmp_path / "rows.jsonl", kind)
    plain = database_url.replace("+psycopg", "")
    loaded = _feedback.load(f"{plain}?project=news", kind)
    for one, two in zip(loaded, rows, strict=True):
        assert {name: value for name, value in vars(one).items() if name != "where"} == {
            name: value for name, value in vars(two).items() if name != "where"
        }
    assert "project news, up to judgement" in loaded.report.lines()[0]


def test_training_names_whose_judgements_weigh_nothing(tmp_path: Path) -> None:
    db = tmp_path / "r.db"
    with Store(db) as store:
        cookie = People(store.database, b"").accept(People(store.database, b"").invite("news", actor="t"), name="Liu")
        session = People(store.database, b"").session(cookie)
        assert session is not None
        asked: list[Comparison] = []
        for number in range(40):
            prompt = Prompt(f"p{number}", f"Why {number}?")
            said = tuple(Sample(f"p{number}-{j}", prompt, f"{j} of {number}") for j in range(2))
            asked.append(Comparison(f"q{number}", "pair", prompt, said))
        store.ask(asked, "news", overlap=4)
        right = [Judgement(f"{name}-{one.id}", one.id, name, (1, 2)) for one in asked for name in ("ann", "bo", "cy")]
        store.answer_many(right + [Judgement(f"l-{one.id}", one.id, session.rater, (2, 1)) for one in asked])
    told = f"Liu ({session.rater}): 40 judgements weigh nothing (no better than chance)"
    assert [line for line in _feedback.load(str(db), "preference").report.lines() if "weigh" in line] == [told]
    for text in (f"{db}?weights=none", f"{db}?without={session.rater}"):
        assert "weigh" not in " ".join(_feedback.load(text, "preference").report.lines())


def test_raters_and_times_are_left_out_by_name(tmp_path: Path) -> None:
    db = tmp_path / "r.db"
    judged(str(db))
    with Store(db) as store:
        first = store.history("news")[0]["created"]
        People(store.database, b"").exclude("news", "cy", True, reason="guesses", actor="test")
    told = [rating.rater for row in _feedback.load(f"{db}?without=bo", "rated") for rating in row.ratings]
    assert set(told) == {"ann"}
    with pytest.raises(DataError, match="nothing to train on as preference"):
        _feedback.load(f"{db}?at=2001-01-01T00:00:00", "preference")
    assert first > 0


@pytest.mark.parametrize(
    ("question", "kind", "error", "message"),
    [
        ("", "preference", UsageError, "several projects: news, other"),
        ("?project=gone", "preference", DataError, "no project 'gone'"),
        ("?project=news&at=noon", "preference", UsageError, "no time"),
        ("?project=news&rater=bo", "preference", UsageError, "rater= means nothing"),
        ("?project=other", "preference", DataError, "nothing to train on as preference rows: .*0 preferences"),
        ("?project=news", "ranking", DataError, "nothing to train on as ranking"),
        ("?project=news", "prompt", UsageError, "no rows of kind 'prompt'"),
    ],
)
def test_mistakes_are_said(tmp_path: Path, question: str, kind: str, error: type[Exception], message: str) -> None:
    judged(str(tmp_path / "r.db"))
    with Store(tmp_path / "r.db") as store:
        store.ask(questions(2), "other")
    with pytest.raises(error, match=message):
        _feedback.load(f"{tmp_path / 'r.db'}{question}", kind)


def test_a_password_never_comes_into_a_run_folder() -> None:
    with pytest.raises(UsageError, match="would keep the password"):
        _feedback.named("postgresql://ann:secret@localhost/ratings?project=news")
    assert _feedback.named("postgresql://ann@h/r?sslmode=require&project=n").url == (
        "postgresql+psycopg://ann@h/r?sslmode=require"
    )


def test_a_run_reads_the_same_rows_again_while_people_go_on(tmp_path: Path, tiny_chat_model: Path) -> None:
    db, out = tmp_path / "feedback.db", tmp_path / "rm"
    pairs = judged(str(db))
    words = ["reward", "--model", str(tiny_chat_model), "--data", str(db), "--out", str(out), *SMALL]
    assert main(words) == 0
    told = json.loads((out / "lineage.json").read_text())
    (read,) = told["ratings"].values()
    assert (read["project"], read["cut"]["newest"]["judgements"], read["excluded"]) == ("news", 84, {})
    assert "data" not in told["inputs"], "the file grows: its bytes say nothing"
    with Store(db) as store:
        store.answer_many([Judgement(f"late-{name}", name, "late", (1, 2)) for name in pairs])
    again = _feedback.load(str(db), "preference", folder=out)
    assert {rater for row in again for rater in row.meta["raters"]} == {"ann", "bo", "cy"}
    words[words.index("--steps") + 1] = "3"
    assert main(words) == 0  # goes on with what it read before
    assert json.loads((out / "lineage.json").read_text())["ratings"] == told["ratings"]
    fresh = _feedback.load(str(db), "preference", folder=tmp_path / "new")
    assert "late" in {rater for row in fresh for rater in row.meta["raters"]}


def test_another_database_in_its_place_is_refused(tmp_path: Path) -> None:
    judged(str(tmp_path / "r.db"))
    _feedback.load(str(tmp_path / "r.db"), "preference", folder=tmp_path / "run")
    (tmp_path / "r.db").unlink()
    judged(str(tmp_path / "r.db"), "else", 20)
    with pytest.raises(UsageError, match="not the database that the run began with"):
        _feedback.load(str(tmp_path / "r.db"), "preference", folder=tmp_path / "run")


@pytest.mark.parametrize("verb", ["dpo", "kto", "sft", "reward --kind ridge"])
def test_other_methods_learn_from_the_database_too(tmp_path: Path, tiny_chat_model: Path, verb: str) -> None:
    judged(str(tmp_path / "r.db"))
    out = tmp_path / "run"
    name, *more = verb.split()
    model = [] if more else ["--model", str(tiny_chat_model), *SMALL]
    assert main([name, *more, *model, "--data", f"{tmp_path / 'r.db'}?project=news", "--out", str(out)]) == 0
    assert json.loads((out / "lineage.json").read_text())["ratings"]
