"""People teach a run while it goes on: real processes, real HTTP, and both sides killed in the middle of a batch."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from live_room import PATIENCE, Nursery, Rater, Server, until, verdict
from tutelage.config import resolve
from tutelage.store.batches import Batches
from tutelage.store.store import Store

STEPS, PROMPTS, ANSWERS, RATERS = 2, 1, 2, 2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "r.db")
    yield made
    made.kill()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    made = Nursery()
    yield made
    made.close()


def flags(model: Path, folder: Path, name: str, *, db: Path | str, project: str, ask: str = "") -> dict[str, Any]:
    data = folder / "prompts.jsonl"
    rows = [{"id": f"p{n}", "prompt": f"Summarise bridge {n}."} for n in range(4)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given: dict[str, Any] = {"model": str(model), "data": str(data), "out": str(folder / name), "steps": STEPS}
    given |= {"reward": f"human?n={RATERS}&deadline=9999{ask}", "db": str(db), "project": project, "save_every": 1}
    given |= {"batch_size": PROMPTS, "answers": ANSWERS, "max_new_tokens": 6, "learning_rate": 1e-3, "max_length": 96}
    return given


def words(command: str, given: dict[str, Any]) -> list[str]:
    return [command, *(word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value)))]


def weights(run: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in sorted((run / "model").glob("*.safetensors"))}
    assert found
    return found


def judged(db: Path | str, project: str) -> list[str]:
    with Store(db) as store:
        return [row["id"] for row in store.history(project)]


def test_a_run_and_its_server_killed_in_mid_batch_end_in_the_same_bits(
    server: Server, nursery: Nursery, tiny_model: Path, tmp_path: Path
) -> None:
    _killed_and_whole_alike("rloo", server, nursery, tiny_model, tmp_path)
    _rewards_are_the_means(tmp_path / "killed", server.db)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "ask"), [("a2c", ""), ("ppo", ""), ("online-dpo", "&ask=pairs")], ids=["a2c", "ppo", "online-dpo pairs"]
)
def test_every_way_to_learn_from_people_survives_the_same(
    command: str, ask: str, server: Server, nursery: Nursery, tiny_model: Path, tmp_path: Path
) -> None:
    _killed_and_whole_alike(command, server, nursery, tiny_model, tmp_path, ask)


@pytest.mark.slow
def test_trainer_and_server_on_postgresql_survive_the_same(
    postgres_url: str, nursery: Nursery, tiny_model: Path, tmp_path: Path
) -> None:
    server = Server(postgres_url, tmp_path / "secret")
    try:
        _killed_and_whole_alike("rloo", server, nursery, tiny_model, tmp_path)
        _rewards_are_the_means(tmp_path / "killed", server.db)
    finally:
        server.kill()


def _killed_and_whole_alike(
    command: str, server: Server, nursery: Nursery, model: Path, folder: Path, ask: str = ""
) -> None:
    """One run that nobody disturbs; one killed in mid-batch, whose server is killed in the next batch."""
    db, answers = server.db, PROMPTS * (ANSWERS * (ANSWERS - 1) // 2 if ask else ANSWERS)
    each = answers * RATERS
    whole = server.let_in("whole", RATERS)
    for rater in whole:
        rater.free.set()
    _through(command, flags(model, folder, "whole", db=db, project="whole", ask=ask))
    _stop(whole)

    raters = server.let_in("killed", RATERS)
    call = words(command, flags(model, folder, "killed", db=db, project="killed", ask=ask))
    first = nursery.start(call, folder / "first.log")
    raters[0].may.release(1)  # so many, and then the trainer is killed
    until(lambda: len(judged(db, "killed")) == 1)
    os.kill(first, signal.SIGKILL)
    assert nursery.wait(first) == -signal.SIGKILL
    with Store(db) as store:
        [batch] = Batches(store.database).all("killed")
    assert (batch.state, batch.step, batch.missing) == ("open", 0, each - 1)
    raters[1].may.release(1)  # nobody waits now: what people say counts all the same
    until(lambda: len(judged(db, "killed")) == 2)

    second = nursery.start(call, folder / "second.log")
    for rater in raters:
        for _ in range(answers - 1):
            rater.may.release()
    until(lambda: len(judged(db, "killed")) == each)
    raters[0].may.release(1)
    until(lambda: len(judged(db, "killed")) == each + 1)  # in the middle of the second batch
    server.kill()
    for rater in raters:
        rater.free.set()
    server.start()
    code, said = nursery.wait(second), (folder / "second.log").read_text()
    assert code == 0, said
    if not ask:
        assert f"of {answers} answers judged, deadline in" in said
    assert f"rate at http://127.0.0.1:{server.port}" in said or "://" in str(db), "where a file tells the address"
    _stop(raters)

    assert weights(folder / "killed") == weights(folder / "whole")
    with Store(db) as store:
        batches = Batches(store.database)
        found = batches.all("killed")
        assert [(one.state, one.step, one.missing) for one in found] == [("consumed", 0, 0), ("consumed", 1, 0)]
        used = [judgement.id for one in found for item in batches.settled(one.id) for judgement in item.judgements]
        wrote = [one.checkpoint for one in found]
        assert wrote == [one.checkpoint for one in batches.all("whole")] and len(set(wrote)) == STEPS and all(wrote)
        asked = {one.id: [said.checkpoint for said in one.candidates] for one in store.comparisons("killed")}
        assert all(row["checkpoints"] == asked[row["question"]] for row in store.history("killed"))
    told = sorted(name for rater in raters for name in rater.acknowledged)
    assert sorted(used) == told == sorted(judged(db, "killed")), "lost, doubled or not used"
    assert len(told) == STEPS * each
    waited = [one for rater in raters for one in rater.waiting if one is not None]
    assert waited and all(0 < one["needed"] <= each and 0 < one["deadline_seconds"] <= 9999 for one in waited)


def _rewards_are_the_means(run: Path, db: Path | str) -> None:
    """metrics.jsonl says what the database says again, and that is what the raters think: their mean, over 5."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    told = [line["reward/mean"] for line in lines if "reward/mean" in line]
    with Store(db) as store:
        batches, asked = Batches(store.database), {one.id: one for one in store.comparisons("killed")}
        for batch, mean in zip(batches.all("killed"), told, strict=True):
            items = batches.settled(batch.id)
            if len(items) < PROMPTS * ANSWERS:
                continue  # an answer came twice: it counts twice in the mean
            texts = [asked[item.question].candidates[0].text for item in items if item.question]
            thought = [sum(verdict(text, rater) for rater in range(RATERS)) / RATERS / 5 for text in texts]
            assert mean == pytest.approx(sum(thought) / len(thought), abs=1e-6)


def test_ctrl_c_while_people_are_waited_for_says_what_is_missing(
    server: Server, nursery: Nursery, tiny_model: Path, tmp_path: Path
) -> None:
    given = flags(tiny_model, tmp_path, "run", db=server.db, project="P")
    run = nursery.start(words("rloo", given), tmp_path / "log")
    with Store(server.db) as store:
        until(lambda: Batches(store.database).all("P", "open"))
    os.kill(run, signal.SIGINT)
    code, said = nursery.wait(run), (tmp_path / "log").read_text()
    assert code == 130, said
    answers = PROMPTS * ANSWERS
    assert f"{answers * RATERS} judgements on {answers} of {answers} answers are missing" in said
    assert "the same command goes on" in said and "Traceback" not in said
    with Store(server.db) as store:
        assert [one.state for one in Batches(store.database).all("P")] == ["open"]


def _through(command: str, given: dict[str, Any]) -> None:
    from tutelage import registry
    from tutelage.algorithms import Algorithm
    from tutelage.build import train

    torch.set_num_threads(1)
    kind = registry.find("algorithms", command, Algorithm)
    train(command, resolve(kind.Config, yaml_file=None, sets=[], flags=given))


def _stop(raters: list[Rater]) -> None:
    for rater in raters:
        rater.stopped.set()
    for rater in raters:
        rater.join(PATIENCE)
