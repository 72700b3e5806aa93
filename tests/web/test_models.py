"""The shelf of models: what is found below a folder, what is wrong with the rest, and that nothing leads out of it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sampling_room import shelf
from tutelage.web import _models
from tutelage.web._models import models_below


def model_in(folder: Path, config: str = '{"architectures": ["LlamaForCausalLM"]}') -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(config)
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_models_are_found_by_their_path_with_what_is_wrong_with_the_others(tmp_path: Path, tiny_model: Path):
    found = {model.name: model.problem for model in models_below(shelf(tmp_path / "runs", tiny_model))}
    assert found == {"half": "no_weights", "rm": "gives_scores", "sft/model": "", "torn": "unreadable"}


def test_adapters_are_found_and_those_that_score_are_not_offered(tmp_path: Path):
    for task in ("CAUSAL_LM", "SEQ_CLS"):
        folder = tmp_path / task
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps({"task_type": task}))
        (folder / "adapter_model.safetensors").write_bytes(b"weights")
    told = [(model.name, model.adapter, model.problem) for model in models_below(tmp_path)]
    assert told == [("CAUSAL_LM", True, ""), ("SEQ_CLS", True, "gives_scores")]


def test_links_lead_nowhere(tmp_path: Path):
    outside = model_in(tmp_path / "outside")
    root = tmp_path / "runs"
    root.mkdir()
    (root / "folder").symlink_to(outside, target_is_directory=True)
    (root / "up").symlink_to("..", target_is_directory=True)
    for name, linked in (("weights", "model.safetensors"), ("config", "config.json")):
        own = model_in(root / name)
        (own / linked).unlink()
        (own / linked).symlink_to(outside / linked)
    inside = model_in(root / "snapshot")
    (inside / "model.safetensors").rename(root / "blob")
    (inside / "model.safetensors").symlink_to("../blob")
    found = {model.name: model.problem for model in models_below(root)}
    assert found == {"config": "unreadable", "weights": "no_weights", "snapshot": ""}, "a link that stays is fine"


def test_a_folder_of_models_that_is_itself_a_link_is_the_owners_choice(tmp_path: Path):
    model_in(tmp_path / "disk" / "a")
    (tmp_path / "runs").symlink_to(tmp_path / "disk", target_is_directory=True)
    assert [model.name for model in models_below(tmp_path / "runs")] == ["a"]


def test_names_that_cannot_be_shown_or_typed_are_left_out(tmp_path: Path):
    shown = ["-n", "<script>alert(1)<", "a b", "a&amp;b", "新闻 模型", "{{ 7*7 }}", "'; rm -rf ~"]
    hidden = [".cache", "two\nlines", "turned\u202eround", "bell\a", "wide\u200bspace"]
    for name in (*shown, *hidden):
        model_in(tmp_path / name)
    model_in(Path(os.fsdecode(os.fsencode(tmp_path) + b"/broken\xff")))
    assert sorted(model.name for model in models_below(tmp_path)) == sorted(shown)


def test_configurations_of_any_kind_end_in_no_error(tmp_path: Path):
    odd = ["[]", "", "null", "[" * 100_000, "\ud800".encode("utf-8", "surrogatepass").decode("latin1")]
    odd += ['{"architectures": 7}', '{"architectures": [7]}', f'"{"x" * 2_000_000}"']
    for number, config in enumerate(odd):
        model_in(tmp_path / str(number), config)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "config.json")
    told = {model.name: model.problem for model in models_below(tmp_path)}
    assert {name for name, problem in told.items() if not problem} == {"5", "6"}


def test_a_tree_without_end_is_left_after_a_while(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(_models, "MOST", 50)
    deep = tmp_path
    for number in range(_models.DEEPEST + 3):
        deep = deep / f"d{number}"
    model_in(deep)
    for number in range(60):
        (tmp_path / "wide" / f"{number:03}").mkdir(parents=True)
    model_in(tmp_path / "wide" / "z")
    assert models_below(tmp_path) == []
    assert models_below(tmp_path / "nowhere") == []
