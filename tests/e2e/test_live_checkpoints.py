"""Every answer that a run puts before people names the weights that wrote it: those of the checkpoint of that step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tutelage import registry
from tutelage.algorithms import Algorithm
from tutelage.build import train
from tutelage.config import resolve
from tutelage.labelers._consensus import report
from tutelage.labelers._live import Live
from tutelage.models.load import load_policy
from tutelage.models.lora import LoRA
from tutelage.models.policy import Policy
from tutelage.store import transfer
from tutelage.store.batches import Batches
from tutelage.store.store import Store
from tutelage.train import checkpoint

STEPS = 3
PEOPLE = {"reward": "human?n=2&raters=fresh:2&taste=live_room:taste", "project": "P"}


def flags(model: Path, folder: Path, name: str, **more: Any) -> dict[str, Any]:
    data = folder / "prompts.jsonl"
    data.write_text("".join(json.dumps({"id": f"p{n}", "prompt": f"Summarise bridge {n}."}) + "\n" for n in range(4)))
    given: dict[str, Any] = {"model": str(model), "data": str(data), "out": str(folder / name), "steps": STEPS}
    given |= {"save_every": 1, "keep": STEPS + 1, "batch_size": 2, "answers": 2, "max_new_tokens": 6}
    return given | {"max_length": 96, "learning_rate": 1e-3, "device": "cpu"} | more


def run(given: dict[str, Any], command: str = "rloo") -> None:
    torch.set_num_threads(1)
    kind = registry.find("algorithms", command, Algorithm)
    train(command, resolve(kind.Config, yaml_file=None, sets=[], flags=given))


class Weights:
    """What of a run its checkpoints hold of the policy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def modules(self) -> dict[str, torch.nn.Module]:
        return {"policy": self.policy}

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        return


def saved(model: Path, folder: Path, steps: int, lora: LoRA | None = None) -> str:
    """The digest of a checkpoint's weights, read from its folder into a model that has never been in the run."""
    policy = load_policy(str(model), device="cpu", lora=lora)
    if steps:
        found = checkpoint.verify(checkpoint.folder_of(folder / "checkpoints", steps))
        assert isinstance(found, checkpoint.Checkpoint)
        checkpoint.load_weights(found, Weights(policy))
    return policy.digest()


def written(db: Path) -> dict[str, str]:
    """The words of each answer that was asked about, and the weights that wrote them first."""
    with Store(db) as store:
        return {said.text: said.checkpoint for one in store.comparisons("P") for said in one.candidates}


def batches(db: Path) -> list[str]:
    with Store(db) as store:
        return [one.checkpoint for one in Batches(store.database).all("P")]


@pytest.mark.parametrize("command", ["rloo", "online-dpo"])
def test_each_step_names_the_weights_that_its_checkpoint_holds(command: str, tiny_model: Path, tmp_path: Path) -> None:
    db = tmp_path / "r.db"
    run(flags(tiny_model, tmp_path, "run", db=str(db), **PEOPLE), command)
    wrote = [saved(tiny_model, tmp_path / "run", steps) for steps in range(STEPS)]
    assert batches(db) == wrote and len(set(wrote)) == STEPS
    assert saved(tiny_model, tmp_path / "run", STEPS) == load_policy(str(tmp_path / "run/model"), device="cpu").digest()
    states = [tmp_path / f"run/checkpoints/step-{number:08d}/state.json" for number in range(1, STEPS)]
    assert [json.loads(state.read_text())["algorithm"]["weights"] for state in states] == wrote[1:], "to look it up"
    lines = [json.loads(line) for line in (tmp_path / "run/samples.jsonl").read_text().splitlines()]
    assert {(line["step"], line["checkpoint"]) for line in lines} == {(n + 1, name) for n, name in enumerate(wrote)}
    assert set(written(db).values()) == set(wrote)
    with Store(db) as store:
        asked = {one.id: one.candidates[0].checkpoint for one in store.comparisons("P")}
        rows = store.history("P")
        assert rows and all(row["checkpoints"] == [asked[row["question"]]] for row in rows)
        assert {row["models"][0] for row in rows} == {str(tiny_model)}, "one model, however often it has learned"
        assert report(store, "P")["models"] is None, "nothing to compare: it is no other model at each step"
        with Store(":memory:") as other:
            told = list(transfer.dump(store, "P"))
            transfer.load(other, json.loads(json.dumps(told)), "P")
            assert list(transfer.dump(other, "P")) == told


def test_an_adapters_answers_name_the_adapter_of_their_step(tiny_model: Path, tmp_path: Path) -> None:
    db = tmp_path / "r.db"
    given = flags(tiny_model, tmp_path, "run", db=str(db), lora=True, **PEOPLE)
    run(given)
    kind = LoRA()
    wrote = [saved(tiny_model, tmp_path / "run", steps, kind) for steps in range(STEPS)]
    assert batches(db) == wrote and len(set(wrote)) == STEPS


class Deadly(Exception):
    """What ends a run in the middle."""


@pytest.mark.parametrize("staleness", [0, 1])
def test_a_run_that_goes_on_names_the_same_weights_and_asks_nobody_twice(
    staleness: int, tiny_model: Path, tmp_path: Path
) -> None:
    """It ends where it waits for step 1; what was sampled ahead names the weights of the step that sampled it."""
    whole, ended = tmp_path / "whole.db", tmp_path / "ended.db"
    run(flags(tiny_model, tmp_path, "whole", db=str(whole), staleness=staleness, **PEOPLE))
    given = flags(tiny_model, tmp_path, "ended", db=str(ended), staleness=staleness, **PEOPLE)
    wait = Live.wait

    def deadly(self: Any, samples: Any, step: int, guesses: Any = ()) -> Any:
        found = wait(self, samples, step, guesses)
        if step == 1:
            raise Deadly
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Live, "wait", deadly)
        with pytest.raises(Deadly):
            run(given)
    with Store(ended) as store:
        before = store.history("P")
    run(given)
    steps = [saved(tiny_model, tmp_path / "whole", number) for number in range(STEPS)]
    wanted = [steps[0], steps[0], steps[1]] if staleness else steps
    assert batches(whole) == batches(ended) == wanted
    assert written(ended) == written(whole)
    with Store(ended) as store:
        after = store.history("P")
        assert after[: len(before)] == before and before, "rows of before stay as they were"
        once = [(row["question"], row["rater"]) for row in after]
        assert len(set(once)) == len(once), "asked twice"


def test_a_run_with_a_machines_reward_hashes_nothing(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Policy] = []
    digest = Policy.digest
    monkeypatch.setattr(Policy, "digest", lambda self: (asked.append(self), digest(self))[1])
    run(flags(tiny_model, tmp_path, "machine", reward="taste:live_room:taste"))
    assert asked == []
    run(flags(tiny_model, tmp_path, "people", db=str(tmp_path / "r.db"), **PEOPLE))
    assert len(asked) == STEPS + STEPS, "for the answers of each step and for each checkpoint"
