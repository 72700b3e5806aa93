"""The run folder: whose it is, when it is done, what it holds."""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
from pathlib import Path

import pytest
import yaml
from toy_learner import Adam, Toy, learn, options

from tutelage.errors import CannotCreateError, DeniedError, DiskError, DivergedError, TutelageError, UsageError
from tutelage.train.run import Run


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_run_leaves_everything_that_the_plan_promises(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    learn(folder, 10)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [line["step"] for line in lines(folder / "metrics.jsonl")] == list(range(1, 11))
    assert {line["step"] for line in lines(folder / "metrics.jsonl") if "eval/draw" in line} == {5, 10}
    assert lines(folder / "samples.jsonl")[3] == {"step": 4, "prompt": "问", "completion": "answer 4"}
    assert list((folder / "events").glob("*tfevents*"))
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["step-00000009", "step-00000010"]
    assert (folder / "model/w.safetensors").exists()
    assert json.loads((folder / "done.json").read_text())["reason"] == "all steps done"
    assert not list(folder.rglob(".tmp-*"))


def test_the_configuration_is_written_with_the_origin_of_each_value_and_reads_back(tmp_path: Path) -> None:
    learn(tmp_path / "run", 3)
    text = (tmp_path / "run/config.yaml").read_text(encoding="utf-8")
    assert "  names: [一, b]  # flag --names\n" in text
    assert yaml.safe_load(text) == options(3)["config"]


def test_the_same_command_on_a_done_run_has_nothing_to_do(tmp_path: Path) -> None:
    learn(tmp_path / "run", 6)
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    toy = learn(tmp_path / "run", 6)
    assert toy.calls == 0
    assert before.keys() == {path for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert (tmp_path / "run/model/w.safetensors").read_bytes() == before[tmp_path / "run/model/w.safetensors"]


def test_a_folder_that_is_removed_meanwhile_gets_no_checkpoint_of_the_old_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with Run(folder, **options(3)) as run:
        toy = Toy()
        run.resume(toy, Adam(toy))
        shutil.rmtree(folder)
        (folder / "checkpoints").mkdir(parents=True)
        with pytest.raises(DiskError, match="removed or replaced"):
            run.save(toy, Adam(toy))
    assert not [*folder.glob("checkpoints/*")], "the next run on this folder would take it for its own"


def test_another_configuration_is_refused_by_naming_the_keys(tmp_path: Path) -> None:
    learn(tmp_path / "run", 3)
    other = {**options(3)["config"], "learning_rate": 2e-5, "nested": {"names": ["一"]}}
    with pytest.raises(UsageError) as caught:
        learn(tmp_path / "run", 3, config=other)
    assert "learning_rate: 1e-05 then, 2e-05 now" in str(caught.value)
    assert "nested.names: ['一', 'b'] then, ['一'] now" in str(caught.value)
    assert "another --out" in str(caught.value)
    assert caught.value.exit_code == 2


def test_another_command_and_fewer_steps_are_refused(tmp_path: Path) -> None:
    learn(tmp_path / "run", 6)
    with pytest.raises(UsageError, match="holds a run of `tutelage toy`, not of `tutelage dpo`"):
        learn(tmp_path / "run", 6, command="dpo")
    with pytest.raises(UsageError, match="begun for 6 steps, now 3"):
        learn(tmp_path / "run", 3)


def test_free_keys_may_change_between_starts(tmp_path: Path) -> None:
    learn(tmp_path / "run", 3)
    config = {**options(3)["config"], "out": "elsewhere", "log_every": 7, "quiet": True}
    assert learn(tmp_path / "run", 3, config=config).calls == 0


def test_data_that_changed_since_the_run_began_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "rows.jsonl"
    data.write_text('{"text": "a"}\n')
    config = {**options(3)["config"], "data": str(data)}
    learn(tmp_path / "run", 3, config=config)
    os.utime(data)
    learn(tmp_path / "run", 3, config=config)
    data.write_text('{"text": "b"}\n')
    with pytest.raises(UsageError, match="the content of --data changed since this run began") as caught:
        learn(tmp_path / "run", 3, config=config)
    assert caught.value.where == str(data)


def test_lineage_names_the_inputs_and_the_parents(tmp_path: Path) -> None:
    learn(tmp_path / "parent", 3)
    model = str(tmp_path / "parent/model")
    learn(tmp_path / "child", 3, config={**options(3)["config"], "model": model})
    family = json.loads((tmp_path / "child/lineage.json").read_text())
    assert family["command"] == "toy"
    assert family["inputs"]["model"]["path"] == model
    assert [parent["path"] for parent in family["parents"]] == [model]
    assert family["parents"][0]["lineage"]
    assert set(family["versions"]) >= {"python", "torch", "tutelage"}
    assert len(family["model"]["w.safetensors"]) == 64


def test_a_reward_of_any_length_is_no_file_and_no_error(tmp_path: Path) -> None:
    long = " + ".join(["0.05*operator:eq"] * 20)
    learn(tmp_path / "run", 3, config={**options(3)["config"], "reward": long})
    assert json.loads((tmp_path / "run" / "run.json").read_text())["config"]["reward"] == long


def test_a_folder_with_other_things_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(CannotCreateError, match="it holds thesis.tex") as caught:
        learn(tmp_path, 3)
    assert caught.value.exit_code == 73
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_out_that_is_a_file_or_lies_below_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file/run"):
        with pytest.raises(CannotCreateError, match="cannot be created"):
            learn(out, 3)


def test_an_out_without_permission_is_refused_with_77(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        parent = Path("/proc/1")  # not even root may create there
        expected: type[TutelageError] = TutelageError
    else:
        parent, expected = tmp_path / "closed", DeniedError
        parent.mkdir(mode=0o500)
    with pytest.raises(expected, match="cannot be created") as caught:
        learn(parent / "run", 3)
    assert caught.value.exit_code in (73, 77)


def test_a_loss_that_is_not_finite_stops_before_anything_of_it_is_saved(tmp_path: Path) -> None:
    toy = Toy()
    toy.spoil_at = 7
    with pytest.raises(DivergedError, match="loss is nan at step 8") as caught:
        learn(tmp_path / "run", 20, toy=toy)
    assert caught.value.exit_code == 70
    assert (tmp_path / "run/checkpoints/step-00000006/manifest.json").exists()
    assert [line["step"] for line in lines(tmp_path / "run/metrics.jsonl")][-1] == 7
    (crash,) = (tmp_path / "run").glob("crash-*.txt")
    assert "loss is nan at step 8" in crash.read_text()
    assert str(crash) in caught.value.__notes__[0]


def test_a_bug_leaves_its_traceback_and_a_user_mistake_does_not(tmp_path: Path) -> None:
    def fail(error: Exception) -> None:
        raise error

    with pytest.raises(KeyError):
        learn(tmp_path / "bug", 3, each=lambda step: fail(KeyError("x")))
    assert list((tmp_path / "bug").glob("crash-*.txt"))
    with pytest.raises(UsageError):
        learn(tmp_path / "mistake", 3, each=lambda step: fail(UsageError("x")))
    assert not list((tmp_path / "mistake").glob("crash-*.txt"))


def test_a_reason_to_stop_ends_the_run_there_and_it_stays_done(tmp_path: Path) -> None:
    toy = Toy()

    def reach(step: int) -> None:
        toy.reason = "target reached: reward 0.9" if step == 6 else None

    learn(tmp_path / "run", 20, toy=toy, each=reach)
    done = json.loads((tmp_path / "run/done.json").read_text())
    assert (done["steps"], done["reason"]) == (7, "target reached: reward 0.9")
    assert "eval/draw" in lines(tmp_path / "run/metrics.jsonl")[-1]
    assert learn(tmp_path / "run", 20).calls == 0


def test_a_stopped_run_that_was_killed_before_its_export_stays_stopped(tmp_path: Path) -> None:
    toy = Toy()

    def reach(step: int) -> None:
        toy.reason = "target reached" if step == 6 else None

    learn(tmp_path / "run", 20, toy=toy, each=reach)
    (tmp_path / "run/done.json").unlink()
    assert learn(tmp_path / "run", 20).calls == 7
    assert json.loads((tmp_path / "run/done.json").read_text())["reason"] == "target reached"


def test_the_time_limit_stops_and_more_time_goes_on(tmp_path: Path) -> None:
    learn(tmp_path / "run", 9, max_minutes=1e-9)
    assert json.loads((tmp_path / "run/done.json").read_text())["reason"].startswith("time limit of 1e-09 minutes")
    assert learn(tmp_path / "run", 9, max_minutes=1e-9).calls == 0
    learn(tmp_path / "run", 9)
    assert json.loads((tmp_path / "run/done.json").read_text())["steps"] == 9
    learn(tmp_path / "through", 9)
    assert (tmp_path / "run/model/w.safetensors").read_bytes() == (
        tmp_path / "through/model/w.safetensors"
    ).read_bytes()


def test_how_often_it_is_evaluated_does_not_change_what_is_learned(tmp_path: Path) -> None:
    for name, beat in (("never", 0), ("always", 1)):
        learn(tmp_path / name, 6, eval_every=beat)
    weights = [(tmp_path / name / "model/w.safetensors").read_bytes() for name in ("never", "always")]
    assert weights[0] == weights[1]


def test_step_zero_is_written_on_a_fresh_run_only(tmp_path: Path) -> None:
    toy = Toy()
    adam = Adam(toy)
    with Run(tmp_path / "run", **options(3)) as run:
        run.resume(toy, adam)
        assert run.fresh
        run.begin({"preflight/ratio_error": 0.0})
        for step in run.steps():
            run.finish(step, toy, adam, {"loss": 1.0, "odd": math.inf})
    assert lines(tmp_path / "run/metrics.jsonl")[0]["preflight/ratio_error"] == 0.0
    assert lines(tmp_path / "run/metrics.jsonl")[1]["odd"] is None
    with Run(tmp_path / "run", **options(3)) as run:
        run.resume(toy, adam)
        assert not run.fresh
        run.begin({"preflight/ratio_error": 0.0})
    assert len(lines(tmp_path / "run/metrics.jsonl")) == 4


def test_steps_are_counted_only_while_the_folder_is_locked(tmp_path: Path) -> None:
    def count() -> int:
        assert str(os.getpid()) in (tmp_path / "run/run.lock").read_text()
        (tmp_path / "run/start").mkdir(exist_ok=True)  # a new model's first weights may be made here
        return 3

    with Run(tmp_path / "run", **{**options(3), "steps": count}) as run:
        assert run.total == 3
    (tmp_path / "run/run.json").unlink()
    learn(tmp_path / "run", 3)


def test_forgetting_to_finish_a_step_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="run.finish was not called for step 0"), Run(tmp_path, **options(3)) as run:
        for _ in run.steps():
            pass
