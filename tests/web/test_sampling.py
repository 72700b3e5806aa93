"""A model asked for answers on the admin's pages and by programs: real processes, a tiny model, from order to task."""

from __future__ import annotations

import html
import json
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rating_room import HOST, OPEN, SECRET, Enter, door, questions, take
from rating_server import Server, ask
from sampling_room import COMMAND, jsonl, processes, rows, sampler, shelf, until
from tutelage.labelers import _desk
from tutelage.store.audit import trail
from tutelage.store.people import People
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.store.prompts import prompts_in
from tutelage.store.store import Store
from tutelage.web._openapi import SCHEMAS
from tutelage.web._pages import words
from tutelage.web._settings import Limits, Sampler, Settings
from tutelage.web.app import create_app

PAGE = "/admin/projects/news/sampling"
API = "/api/v1/admin/projects/news/sampling"
FORM = {
    "model": "sft/model", "source": "unanswered", "answers": "2", "max_new_tokens": "8", "temperature": "1",
    "seed": "0", "kind": "pair", "overlap": "2", "per_prompt": "0", "size": "4",
}  # fmt: skip


@pytest.fixture
def models(tmp_path: Path, tiny_model: Path) -> Path:
    return shelf(tmp_path / "runs", tiny_model)


@pytest.fixture
def settings(tmp_path: Path, models: Path, store: Store) -> Settings:
    Projects(store.database).change("news", ProjectSettings(), actor="test")
    limits = replace(OPEN, samplings_per_minute=1e6)
    lent = {"questions": _desk.questions_of, "sampler": sampler(tmp_path, models)}
    return Settings(hosts=(HOST,), secret=SECRET, limits=limits, **lent)


@pytest.fixture
def app(store: Store, settings: Settings) -> Iterator[Starlette]:
    made = create_app(store, settings)
    yield made
    made.state.sampling.close()


@pytest.fixture
def admin(enter: Enter) -> TestClient:
    return enter("Dana", role="admin")


def come_in(app: Starlette, store: Store) -> TestClient:
    """Another admin, at an application of their own."""
    token = People(store.database, SECRET).invite("news", actor="test", role="admin", name="Eve")
    client = door(app)
    assert client.post(f"/join/{token}").status_code == 303
    return client


def wish(**more: Any) -> dict[str, Any]:
    return {"model": "sft/model", "prompts": rows(4), "max_new_tokens": 8, "per_prompt": 0, **more}


def job(admin: TestClient) -> Any:
    return admin.get(f"{API}/job").json()["job"]


def ended(admin: TestClient) -> Any:
    def look() -> Any:
        told = job(admin)
        return told if told["state"] not in ("queued", "running") else None

    return until(look, "the job ends")


def start(admin: TestClient, **more: Any) -> None:
    reply = admin.post(API, json=wish(**more))
    assert reply.status_code == 202, reply.text


# ---------------------------------------------------------------- from prompts to tasks


def test_prompts_come_in_a_model_answers_and_raters_are_asked(admin: TestClient, store: Store, enter: Enter):
    upload = {"file": ("prompts.jsonl", jsonl(rows(5)))}
    form = {"kind": "pair", "overlap": "2", "per_prompt": "2", "size": "4"}
    reply = admin.post("/admin/projects/news/questions", data=form, files=upload)
    assert (reply.status_code, reply.headers["location"]) == (303, PAGE)
    page = admin.get(PAGE).text
    assert "New prompts: 5" in page and "sft/model" in page and "<script" not in page
    reply = admin.post(PAGE, data=FORM | {"answers": "3"})
    assert (reply.status_code, reply.headers["location"]) == (303, f"{PAGE}#job")
    page = admin.get(PAGE).text
    assert "watch.js" in page and "/sampling/cancel" in page and 'id="model"' not in page
    renewed = f'<noscript><meta http-equiv="refresh" content="5; url={PAGE}"></noscript>'
    assert renewed in page.partition("</head>")[0], (
        "without scripts too; to an address without #, or nothing is fetched"
    )
    told = ended(admin)
    assert (told["state"], told["done"], told["wanted"]) == ("done", 15, 15), told
    assert 0 < told["questions"] == len(store.comparisons("news")) <= 15
    assert f"15 answers became {told['questions']} new questions." in admin.get(PAGE).text
    made = store.comparisons("news")[0]
    assert made.candidates[0].model.partition("@")[0].endswith("runs/sft/model"), "as in the shell"
    assert made.prompt.meta.keys() == {"n"} and len(prompts_in(store.database, "news")) == 5
    [task] = take(enter("ann", project="news"))
    assert task["kind"] == "pair" and len(task["candidates"]) == 2
    actions = [(row["action"], row["target"]) for row in trail(store.database)]
    assert actions[:2] == [("take in rater", "x")][:0] + actions[:2]
    assert {("import prompts", "news"), ("sample answers", "news"), ("import answers", "news")} <= set(actions)
    assert [row["after"]["model"] for row in trail(store.database) if row["action"] == "import answers"] == [
        "sft/model"
    ]
    log = admin.get("/admin/audit").text
    assert "let a model answer" in log and "brought in prompts" in log


def test_a_program_orders_follows_and_reads_the_same_states(admin: TestClient, store: Store):
    told = admin.get(API).json()
    assert told["job"] is None and told["prompts"] == {"unanswered": 0, "all": 0}
    offered = {model["name"]: model["problem"] for model in told["models"]}
    assert offered == {"half": "no_weights", "rm": "gives_scores", "sft/model": "", "torn": "unreadable"}
    start(admin, kind="scores", answers=1)
    found = job(admin)
    assert found.keys() == SCHEMAS["Sampling"]["properties"].keys()
    assert found["order"].keys() == SCHEMAS["Order"]["properties"].keys()
    assert admin.post(API, json=wish()).status_code == 409, "one at a time"
    assert ended(admin)["questions"] == len(store.comparisons("news")) == 4
    assert admin.get(API).json()["prompts"] == {"unanswered": 0, "all": 4}


@pytest.mark.slow
def test_new_answers_meet_those_that_were_there(admin: TestClient, store: Store):
    start(admin, answers=1, kind="scores")
    assert ended(admin)["state"] == "done"
    start(admin, prompts="all", answers=1, seed=1, kind="pair")
    assert ended(admin)["state"] == "done"
    pairs = [asked for asked in store.comparisons("news") if asked.kind == "pair"]
    assert len(pairs) == 4 and {frozenset(said.seed for said in pair.candidates) for pair in pairs} == {
        frozenset({0, 1})
    }
    start(admin, prompts="all", answers=1, seed=1, kind="pair")
    told = ended(admin)
    assert told["state"] == "done" and told["questions"] == 0, "the same answers again ask nothing new"


@pytest.mark.slow
def test_prompts_keep_their_ids_whatever_made_them(admin: TestClient, store: Store):
    asked = questions(3)
    store.ask(asked, project="news")
    start(admin, prompts="all", answers=2)
    assert ended(admin)["state"] == "done"
    assert {one.prompt.id for one in store.comparisons("news")} == {one.prompt.id for one in asked}
    assert len(prompts_in(store.database, "news")) == 3


@pytest.mark.slow
def test_answers_come_into_postgresql_too(postgres_url: str, settings: Settings):
    with Store(postgres_url) as store:
        Projects(store.database).change("news", ProjectSettings(), actor="test")
        made = create_app(store, settings)
        admin = come_in(made, store)
        try:
            start(admin, answers=3)
            assert ended(admin)["questions"] == len(store.comparisons("news")) > 4
            assert admin.get(API).json()["prompts"] == {"unanswered": 0, "all": 4} and "Done" in admin.get(PAGE).text
        finally:
            made.state.sampling.close()


@pytest.mark.slow
def test_an_adapter_answers_too(admin: TestClient, models: Path, tiny_model: Path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    adapted.save_pretrained(models / "lora")
    AutoTokenizer.from_pretrained(tiny_model).save_pretrained(models / "lora")
    assert {"name": "lora", "adapter": True, "problem": ""} in admin.get(API).json()["models"]
    start(admin, model="lora")
    told = ended(admin)
    assert told["state"] == "done" and told["questions"] > 0, told


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../runs/sft/model", "sft/../sft/model", "sft/model/", "./sft/model", "sft//model", "sft",
        "linked", "sft\\model", "sft/model\u202e", "~", "/etc", "file:///etc", "Qwen/Qwen3-0.6B", "-h", "sft/model\n",
        "SFT/model",
    ],
)  # fmt: skip
def test_only_what_is_on_the_shelf_can_be_named(name: str, admin: TestClient, models: Path, tmp_path: Path):
    for told in (name, str(models / name)):
        reply = admin.post(API, json=wish(model=told))
        assert reply.status_code == 400 and "no such model" in reply.json()["error"]["what"], reply.text
    reply = admin.post(PAGE, data=FORM | {"model": str(models / "sft" / "model"), "source": "all"})
    assert reply.status_code == 400 and 'role="alert"' in reply.text
    assert not (tmp_path / "ratings.db.sampling").exists() and job(admin) is None


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"model": "gone"}, "no_model"),
        ({"model": "half"}, "no_weights"),
        ({"model": "torn"}, "unreadable"),
        ({"model": "rm"}, "gives_scores"),
        ({}, "no_prompts"),
        ({"source": "all"}, "no_prompts"),
        ({"source": "file"}, "no_file"),
        ({"source": "else"}, "no_source"),
    ],
)
def test_what_is_wrong_is_said_in_both_languages_and_what_was_typed_stays(
    fields: dict[str, str], key: str, language: str, admin: TestClient
):
    admin.post("/language", data={"language": language, "back": PAGE})
    reply = admin.post(PAGE, data=FORM | {"answers": "5", "seed": "77"} | fields)
    assert reply.status_code == 400 and words(language)["admin"]["sampling"]["wrong"][key] in html.unescape(reply.text)
    assert 'value="5"' in reply.text and 'value="77"' in reply.text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"answers": "0"}, "Answers per prompt: Between 1 and 64"),
        ({"answers": "1"}, "at least 2 answers per prompt"),
        ({"answers": "2", "kind": "ranking"}, "at least 3 answers per prompt"),
        ({"temperature": "0"}, "Temperature: Between 0.05 and 5"),
        ({"temperature": "nan"}, "Temperature: Between"),
        ({"max_new_tokens": "1e9"}, "tokens: Between 1 and 4096"),
        ({"seed": "-1"}, "Seed: Between"),
        ({"overlap": ""}, "Judgements per question: This is needed"),
    ],
)
def test_numbers_are_held_within_their_limits(fields: dict[str, str], said: str, admin: TestClient):
    upload = {"file": ("p.jsonl", jsonl(rows(2)))}
    reply = admin.post(PAGE, data=FORM | {"source": "file"} | fields, files=upload)
    assert reply.status_code == 400 and said in html.unescape(reply.text), said
    assert job(admin) is None and admin.get(API).json()["prompts"]["all"] == 0


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("../../etc/passwd.jsonl", b'{"prompt": 7}\n', "passwd.jsonl:1:12"),
        ("<b>.jsonl", b"not json\n", "<b>.jsonl:1"),
        ("p.jsonl", b'{"question": "?"}\n', "found the columns question"),
        ("empty.txt", b"", "the file is empty"),
        ("p.jsonl.gz", b'{"prompt": "?"}\n', "gz"),
        ("nul.jsonl", b'{"prompt": "\\ud800"}\n', "nul.jsonl:1"),
    ],
)
def test_a_file_of_prompts_that_cannot_be_read_is_named_with_the_place(
    name: str, content: bytes, said: str, admin: TestClient
):
    reply = admin.post(PAGE, data=FORM | {"source": "file"}, files={"file": (name, content)})
    assert reply.status_code == 400 and said in html.unescape(reply.text), html.unescape(reply.text)[1500:4500]
    assert "tutelage-import-" not in reply.text and "<b>" not in reply.text.partition("<form")[0]


@pytest.mark.parametrize(
    "more",
    [
        {"prompts": "none"}, {"prompts": []}, {"prompts": [7]}, {"prompts": [{"prompt": ""}]}, {"prompts": {}},
        {"answers": True}, {"answers": "2"}, {"temperature": 1e400}, {"kind": "poem"}, {"model": 7}, {"db": "x"},
        {"prompts": [{"prompt": "a", "id": "1"}, {"prompt": "b", "id": "1"}]},
    ],
)  # fmt: skip
def test_a_program_that_says_nonsense_is_told_what_is_wanted(more: dict[str, Any], admin: TestClient):
    body = json.dumps(wish() | more)
    reply = admin.post(API, content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 400 and reply.json()["error"]["what"] and job(admin) is None


def test_nothing_is_cancelled_continued_or_discarded_where_nothing_is(admin: TestClient):
    for act in ("cancel", "continue", "discard"):
        assert admin.post(f"{API}/{act}", json={}).status_code == 409
        assert admin.post(f"{PAGE}/{act}").status_code == 303
        assert "That is over already." in admin.get(PAGE).text


def test_a_server_without_models_says_how_to_start_one(store: Store, settings: Settings):
    admin = come_in(create_app(store, replace(settings, sampler=None)), store)
    assert "tutelage rate serve --models" in admin.get(PAGE).text
    assert "without a folder of models" in admin.post(PAGE, data=FORM).text
    assert admin.post(API, json=wish()).status_code == 400 and admin.get(API).json()["models"] == []


def test_models_are_not_started_faster_than_people_do(app: Starlette, admin: TestClient):
    app.state.starts.per_minute = 1.0
    start(admin)
    admin.post(f"{API}/cancel")
    reply = admin.post(f"{API}/continue")
    assert reply.status_code == 429 and reply.headers["retry-after"]
    assert Limits().samplings_per_minute <= 12


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("language", [pytest.param("en", marks=pytest.mark.slow), "zh"])
def test_a_model_that_cannot_be_loaded_is_told_in_its_own_last_words(
    language: str, admin: TestClient, models: Path, store: Store
):
    admin.post("/language", data={"language": language, "back": PAGE})
    (models / "sft" / "model" / "model.safetensors").write_bytes(b"\x00" * 999)
    start(admin)
    told = ended(admin)
    assert told["state"] == "failed" and told["done"] == 0 and "the model cannot be loaded" in told["said"]["what"]
    page = html.unescape(admin.get(PAGE).text)
    assert "the model cannot be loaded" in page and told["said"]["fix"] in page
    assert words(language)["admin"]["sampling"]["go_on"] in page and store.comparisons("news") == []


def test_prompts_that_are_too_long_are_named_and_no_path_is_told(admin: TestClient, tmp_path: Path):
    start(admin, prompts=[{"prompt": "word " * 300}, {"prompt": "short"}])
    told = ended(admin)
    assert "1 of 2 prompts are too long" in told["said"]["what"] and str(tmp_path) not in json.dumps(told["said"])


@pytest.mark.slow
def test_a_model_that_always_says_the_same_makes_no_question_and_says_why(admin: TestClient):
    start(admin, temperature=0.05, max_new_tokens=1, prompts=rows(1))
    told = ended(admin)
    assert told["state"] == "failed" and "at least two different answers" in told["said"]["what"]
    assert told["done"] == 2


@pytest.mark.slow
def test_a_process_that_the_system_kills_is_told_as_that(admin: TestClient, tmp_path: Path):
    start(admin)
    [found] = until(lambda: processes(str(tmp_path), "sample"), "the process is there")
    os.kill(found, signal.SIGKILL)
    told = ended(admin)
    assert told["state"] == "failed" and "SIGKILL" in told["said"]["what"]
    assert admin.post(f"{API}/continue").status_code == 200
    assert ended(admin)["state"] == "done"


@pytest.mark.slow
def test_cancelled_in_the_middle_it_goes_on_to_the_answers_of_an_undisturbed_run(
    admin: TestClient, store: Store, tmp_path: Path
):
    Projects(store.database).change("calm", ProjectSettings(), actor="test")
    order = wish(prompts=rows(700), answers=2, max_new_tokens=90, per_prompt=1)
    assert admin.post(API, json=order).status_code == 202
    part = until(lambda: 0 < job(admin)["done"] < 1400 and job(admin), "some answers are there")
    assert part["said"]["line"].endswith("of 1,400 answers.")
    assert admin.post(f"{PAGE}/cancel").status_code == 303
    assert processes(str(tmp_path), "sample") == [], "at once"
    told = job(admin)
    assert told["state"] == "cancelled" and 0 < told["done"] < 1400 and store.comparisons("news") == []
    page = admin.get(PAGE).text
    assert "/sampling/continue" in page and "/sampling/discard" in page and 'id="model"' in page
    assert admin.post(f"{PAGE}/continue").status_code == 303
    assert ended(admin)["done"] == 1400
    assert admin.post(API.replace("news", "calm"), json=order).status_code == 202
    until(lambda: admin.get(API.replace("news", "calm")).json()["job"]["state"] == "done", "the calm one is done")
    texts = [
        sorted(said.text for one in store.comparisons(name) for said in one.candidates) for name in ("news", "calm")
    ]
    assert texts[0] == texts[1]
    assert [row["action"] for row in trail(store.database)].count("cancel sampling") == 1


def test_what_was_cancelled_can_be_thrown_away(admin: TestClient, tmp_path: Path):
    start(admin)
    assert admin.post(f"{API}/cancel").json()["job"]["state"] == "cancelled"
    assert admin.post(f"{API}/cancel").status_code == 409
    assert admin.post(f"{API}/discard").json() == {"job": None}
    assert [file.name for file in (tmp_path / "ratings.db.sampling").iterdir()] == ["lock"]
    assert job(admin) is None and admin.get(API).json()["prompts"]["unanswered"] == 4, "the prompts stay"


@pytest.mark.slow
def test_a_second_project_waits_for_its_turn_and_can_leave_the_queue(admin: TestClient, store: Store):
    for name in ("two", "three"):
        Projects(store.database).change(name, ProjectSettings(), actor="test")
    two, three = (API.replace("news", name) for name in ("two", "three"))
    for address in (API, two, three):
        assert admin.post(address, json=wish()).status_code == 202
    assert [admin.get(address).json()["job"]["state"] for address in (two, three)] == ["queued", "queued"]
    assert admin.post(f"{two}/cancel").json()["job"]["state"] == "cancelled"
    assert ended(admin)["state"] == "done"
    until(lambda: admin.get(three).json()["job"]["state"] == "done", "the third has its turn")
    assert admin.get(two).json()["job"]["state"] == "cancelled" and store.comparisons("two") == []


# ---------------------------------------------------------------- what the process gets, and whose it is


def test_the_process_gets_no_database_no_secret_and_files_that_nobody_else_reads(
    tmp_path: Path, store: Store, settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    told = tmp_path / "told.json"
    program = (
        f"import json, os, sys; json.dump([sys.argv, dict(os.environ)], open({str(told)!r}, 'w')); sys.stdin.read()"
    )
    own: Sampler = replace(settings.sampler, command=(sys.executable, "-c", program))  # pyright: ignore[reportArgumentType]
    for name in ("PGPASSWORD", "DATABASE_URL", "OPENAI_API_KEY", "HF_TOKEN"):
        monkeypatch.setenv(name, "hunter2")
    made = create_app(store, replace(settings, sampler=own))
    admin = come_in(made, store)
    start(admin, prompts=[{"prompt": "hunter2 is a password"}])
    until(lambda: told.exists() and told.read_text().endswith("]"), "the process tells")
    words_, environment = json.loads(told.read_text())
    assert "hunter2" not in json.dumps(words_) and "hunter2" not in json.dumps(environment)
    assert not [word for word in words_ if word.endswith(".db")] and environment["HF_HUB_OFFLINE"] == "1"
    folder = tmp_path / "ratings.db.sampling"
    assert {file.stat().st_mode & 0o77 for file in (folder, *folder.rglob("*"))} == {0}
    made.state.sampling.close()
    assert processes("sys.stdin.read()", str(told)) == []


def test_a_second_server_of_one_database_leaves_the_first_ones_job_alone(
    store: Store, settings: Settings, app: Starlette, admin: TestClient
):
    start(admin)
    client = come_in(create_app(store, settings), store)
    assert client.get(API).json()["job"]["state"] in ("queued", "running", "done")
    for act in ("", "/cancel", "/continue", "/discard"):
        assert client.post(f"{API}{act}", json=wish()).status_code == 409
    assert ended(admin)["state"] == "done" and client.get(API).json()["job"]["state"] == "done"


def test_a_killed_servers_process_ends_with_it_and_the_next_server_says_so_and_goes_on(
    tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)  # `runs` is found there
    db = tmp_path / "real.db"
    with Store(db) as store:
        Projects(store.database).change("news", ProjectSettings(), actor="test")
    server = Server(db)
    try:
        with Store(db) as store:
            secret = Path(f"{db}.secret").read_bytes()
            token = People(store.database, secret).invite("news", actor="test", role="admin")
        cookie = ask(server.port, "POST", f"/join/{token}")[2]
        order = wish(prompts=rows(700), answers=2, max_new_tokens=90, per_prompt=1)
        assert ask(server.port, "POST", API, order, cookie)[0] == 202

        def told() -> Any:
            return ask(server.port, "GET", API, None, cookie)[1]["job"]

        until(lambda: told()["done"], "some answers are there")
        assert processes(str(db), "sample")
        server.kill()
        until(lambda: not processes(str(db), "sample"), "the process has ended")
        server.start()
        found = told()
        assert found["state"] == "interrupted" and 0 < found["done"] < 1400, found
        assert processes(str(db), "sample") == []
        assert ask(server.port, "POST", f"{API}/continue", {}, cookie)[0] == 200
        until(lambda: told()["state"] == "done", "it is done")
        with Store(db) as store:
            assert len(store.comparisons("news")) == told()["questions"] > 600
    finally:
        server.kill()


def test_the_command_of_the_real_server_is_the_one_tested_here(tmp_path: Path, models: Path):
    from tutelage.cli._rate_models import sampler_of

    found = sampler_of(str(tmp_path / "a.db"), str(models))
    assert found == Sampler(COMMAND, models, tmp_path / "a.db.sampling")
