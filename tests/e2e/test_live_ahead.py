"""`--staleness 1`: two batches before people at once; killed while they wait, the run ends in the same bits."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from live_room import PATIENCE, Nursery, Server, until
from tutelage.config import resolve
from tutelage.store.batches import Batches
from tutelage.store.store import Store

STEPS, ANSWERS, RATERS = 3, 2, 2


def flags(model: Path, folder: Path, name: str, **more: Any) -> dict[str, Any]:
    data = folder / "prompts.jsonl"
    rows = [{"id": f"p{n}", "prompt": f"Summarise bridge {n}."} for n in range(4)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given: dict[str, Any] = {"model": str(model), "data": str(data), "out": str(folder / name), "steps": STEPS}
    given |= {"save_every": 1, "staleness": 1, "batch_size": 1, "answers": ANSWERS, "max_length": 96}
    return given | {"max_new_tokens": 6, "learning_rate": 1e-3} | more


def through(command: str, given: dict[str, Any]) -> None:
    import torch

    from tutelage import registry
    from tutelage.algorithms import Algorithm
    from tutelage.build import train

    torch.set_num_threads(1)
    kind = registry.find("algorithms", command, Algorithm)
    train(command, resolve(kind.Config, yaml_file=None, sets=[], flags=given))


def outcome(run: Path) -> dict[str, Any]:
    """The weights and every number of the journal."""
    found: dict[str, Any] = {path.name: path.read_bytes() for path in (run / "model").glob("*.safetensors")}
    assert found
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    told = [line for line in lines if "reward/mean" in line]
    return found | {"told": [{k: v for k, v in line.items() if not k.startswith("time")} for line in told]}


class Deadly(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize("command", ["rloo", "online-dpo"])
def test_waiting_answers_outlive_the_run_that_sampled_them(command: str, tiny_model: Path, tmp_path: Path) -> None:
    """Simulated raters; the run ends where it waits for step 1, whose answers step 0's policy had sampled."""
    from tutelage.labelers import _live

    people = {"reward": "human?n=2&raters=fresh:2&taste=live_room:taste", "project": "P"}
    through(command, flags(tiny_model, tmp_path, "whole", db=str(tmp_path / "whole.db"), **people))
    given = flags(tiny_model, tmp_path, "ended", db=str(tmp_path / "ended.db"), **people)
    wait = _live.Live.wait

    def deadly(self: Any, samples: Any, step: int, guesses: Any = ()) -> Any:
        if step == 1:
            raise Deadly
        return wait(self, samples, step, guesses)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_live.Live, "wait", deadly)
        with pytest.raises(Deadly):
            through(command, given)
    assert (tmp_path / "ended/checkpoints/step-00000001").is_dir()
    through(command, given)
    found = outcome(tmp_path / "ended")
    assert found == outcome(tmp_path / "whole")
    assert [line["policy/staleness"] for line in found["told"]] == [0, 1, 1]
    assert found["told"][0]["policy/ratio"] == 1 and found["told"][1]["policy/ratio"] != 1


@pytest.mark.slow
def test_killed_with_two_batches_before_people_it_ends_in_the_same_bits(tiny_model: Path, tmp_path: Path) -> None:
    server, nursery = Server(tmp_path / "r.db"), Nursery()
    try:
        _killed(server, nursery, tiny_model, tmp_path)
    finally:
        nursery.close()
        server.kill()


def _killed(server: Server, nursery: Nursery, model: Path, folder: Path) -> None:
    people = {"reward": f"human?n={RATERS}&deadline=9999", "db": str(server.db)}
    raters = server.let_in("whole", RATERS)
    for rater in raters:
        rater.free.set()
    through("rloo", flags(model, folder, "whole", project="whole", **people))
    for rater in raters:
        rater.stopped.set()
    for rater in raters:
        rater.join(PATIENCE)

    raters = server.let_in("killed", RATERS)
    given = flags(model, folder, "killed", project="killed", **people)
    call = ["rloo", *(word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value)))]

    def waiting() -> list[int]:
        with Store(server.db) as store:
            return [batch.step for batch in Batches(store.database).all("killed", "open")]

    for number, steps in enumerate(([0, 1], [1, 2])):
        run = nursery.start(call, folder / f"{number}.log")
        until(lambda: waiting() == steps)  # noqa: B023
        os.kill(run, signal.SIGKILL)
        assert nursery.wait(run) == -signal.SIGKILL
        for rater in raters if number == 0 else []:  # they judge step 0, and no more
            rater.may.release(ANSWERS)
    for rater in raters:
        rater.free.set()
    code = nursery.wait(nursery.start(call, folder / "last.log"))
    assert code == 0, (folder / "last.log").read_text()
    for rater in raters:
        rater.stopped.set()
    for rater in raters:
        rater.join(PATIENCE)
    assert outcome(folder / "killed") == outcome(folder / "whole")
    with Store(server.db) as store:
        found, whole = (Batches(store.database).all(project) for project in ("killed", "whole"))
    assert [(one.step, one.state) for one in found] == [(step, "consumed") for step in range(STEPS)], "asked otherwise"
    wrote = [one.checkpoint for one in found]
    assert wrote == [one.checkpoint for one in whole] and wrote[0] == wrote[1] != wrote[2], "who sampled it wrote it"
