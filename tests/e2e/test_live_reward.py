"""People teach a run while it goes on: real processes, real HTTP, and both sides killed in the middle of a batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from live_room import PATIENCE, Rater, Server, until, verdict
from tutelage.config import resolve
from tutelage.store.batches import Batches
from tutelage.store.store import Store

STEPS, PROMPTS, ANSWERS, RATERS = 2, 2, 2, 2
EACH = PROMPTS * ANSWERS * RATERS


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "r.db")
    yield made
    made.kill()


def flags(model: Path, folder: Path, name: str, *, db: Path, project: str) -> dict[str, Any]:
    data = folder / "prompts.jsonl"
    rows = [{"id": f"p{n}", "prompt": f"Summarise bridge {n}."} for n in range(4)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given: dict[str, Any] = {"model": str(model), "data": str(data), "out": str(folder / name), "steps": STEPS}
    given |= {"reward": f"human?n={RATERS}&deadline=9999", "db": str(db), "project": project, "save_every": 1}
    given |= {"batch_size": PROMPTS, "answers": ANSWERS, "max_new_tokens": 6, "learning_rate": 1e-3, "max_length": 96}
    return given


def start(command: str, given: dict[str, Any]) -> subprocess.Popen[str]:
    words = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    call = [sys.executable, "-m", "tutelage", command, *words]
    return subprocess.Popen(call, stderr=subprocess.PIPE, text=True)


def weights(run: Path) -> dict[str, bytes]:
    found = {path.name: path.read_bytes() for path in sorted((run / "model").glob("*.safetensors"))}
    assert found
    return found


def judged(db: Path, project: str) -> list[str]:
    with Store(db) as store:
        return [row["id"] for row in store.history(project)]


def test_a_run_and_its_server_killed_in_mid_batch_end_in_the_same_bits(
    server: Server, tiny_model: Path, tmp_path: Path
) -> None:
    db = server.db
    whole = server.let_in("whole", RATERS)
    for rater in whole:
        rater.free.set()
    _through("rloo", flags(tiny_model, tmp_path, "whole", db=db, project="whole"))
    _stop(whole)

    raters, given = server.let_in("killed", RATERS), flags(tiny_model, tmp_path, "killed", db=db, project="killed")
    first = start("rloo", given)
    raters[0].may.release(3)  # so many, and then the trainer is killed
    until(lambda: len(judged(db, "killed")) == 3)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    with Store(db) as store:
        [batch] = Batches(store.database).all("killed")
    assert (batch.state, batch.step, batch.missing) == ("open", 0, EACH - 3)
    raters[1].may.release(2)  # nobody waits now: what people say counts all the same
    until(lambda: len(judged(db, "killed")) == 5)

    second = start("rloo", given)
    raters[0].may.release(1)
    raters[1].may.release(2)
    until(lambda: len(judged(db, "killed")) == EACH)
    raters[0].may.release(1)
    until(lambda: len(judged(db, "killed")) == EACH + 1)  # in the middle of the second batch
    server.kill()
    for rater in raters:
        rater.free.set()
    server.start()
    said = second.communicate(timeout=PATIENCE)[1]
    assert second.returncode == 0, said
    assert (
        f"of {PROMPTS * ANSWERS} answers judged, deadline in" in said
        and f"rate at http://127.0.0.1:{server.port}" in said
    )
    _stop(raters)

    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    with Store(db) as store:
        batches = Batches(store.database)
        found = batches.all("killed")
        assert [(one.state, one.step, one.missing) for one in found] == [("consumed", 0, 0), ("consumed", 1, 0)]
        used = [judgement.id for one in found for item in batches.settled(one.id) for judgement in item.judgements]
    told = sorted(name for rater in raters for name in rater.acknowledged)
    assert sorted(used) == told == sorted(judged(db, "killed")), "lost, doubled or not used"
    assert len(told) == STEPS * EACH
    waited = [one for rater in raters for one in rater.waiting if one is not None]
    assert waited and all(0 < one["needed"] <= EACH and 0 < one["deadline_seconds"] <= 9999 for one in waited)
    _rewards_are_the_means(tmp_path / "killed", db)


def _rewards_are_the_means(run: Path, db: Path) -> None:
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
    server: Server, tiny_model: Path, tmp_path: Path
) -> None:
    given = flags(tiny_model, tmp_path, "run", db=server.db, project="P")
    process = start("rloo", given)
    with Store(server.db) as store:
        until(lambda: Batches(store.database).all("P", "open"))
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=PATIENCE)[1]
    assert process.returncode == 130, said
    assert f"{EACH} judgements on {PROMPTS * ANSWERS} of {PROMPTS * ANSWERS} answers are missing" in said
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
