"""The silent failures of other trainers, one fixture each: the command says so, or refuses. The table: docs/checks.md.

A row of that table is a test here: its name is in the table's last column (`test_the_table_names_these_tests`).
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from conftest import CHATML, REPO

PROMPTS = [{"prompt": f"Say {n}:"} for n in range(8)]
CHATS = [{"prompt": [{"role": "user", "content": f"Say {n}"}]} for n in range(8)]
DEMOS = [{"prompt": f"Say {n}:", "completion": f" {n}!"} for n in range(8)]
PAIRS = [{"prompt": f"Say {n}:", "chosen": f" {n}, gladly!", "rejected": f" no {n}"} for n in range(40)]
SWAPPED = [{"prompt": f"Say {n}:", "chosen": f" no {n}", "rejected": f" {n}, gladly!"} for n in range(40)]
PPO = ("--max-length", 100, "--max-new-tokens", 8, "--critic-init", "zero", "--steps", 2)
REWARDS = """
def same(prompt, completion): return 1.0
def size(prompt, completion): return float(len(completion))
def kind(prompt, completion): return 1.0 if "gladly" in completion else 0.0
def rude(prompt, completion): return -kind(prompt, completion)
"""
HEAD = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
TAIL = "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@pytest.fixture(autouse=True)
def rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reward functions of a user."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "silent_rewards.py").write_text(REWARDS)
    monkeypatch.syspath_prepend(tmp_path / "code")
    monkeypatch.delitem(sys.modules, "silent_rewards", raising=False)


def with_template(place: Any, model: Path, template: str) -> Path:
    folder = place.copy(model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    return folder


def findings(said: Any) -> dict[str, dict[str, Any]]:
    return {row["what"]: row for row in json.loads(said.out.splitlines()[-1])["findings"]}


# ---- the end of an answer


@pytest.mark.parametrize("template", ["chatml", "no end at all", "end of sequence"])
def test_every_answer_is_learned_up_to_a_stop_token(template: str, place: Any, tiny_model: Path) -> None:
    text = {"chatml": CHATML, "no end at all": HEAD + "{{ m['content'] }}\n" + TAIL}
    folder = with_template(place, tiny_model, text.get(template, HEAD + "{{ m['content'] }}</s>" + TAIL))
    chat = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]}]
    said = place("data", "inspect", place.rows(chat), "--model", folder, "--json").expect(0)
    shown = json.loads(said.out.splitlines()[-1])
    assert shown["mask"][-1] and shown["tokens"][-1] == (4 if template == "chatml" else 1)


def test_a_template_that_never_ends_an_answer_is_noted(place: Any, tiny_model: Path) -> None:
    folder = with_template(place, tiny_model, HEAD + "{{ m['content'] }}\n" + TAIL)
    place("doctor", "--model", folder).expect(0, "does not end answers with a token of its own", "</s>")


def test_a_model_that_never_learned_to_stop_is_told_on_the_first_batch(place: Any, tiny_model: Path) -> None:
    words = ("ppo", tiny_model, PROMPTS, *PPO, "--reward", "silent_rewards:size")
    for more in (("--dry-run",), ()):
        place.train(*words, *more).expect(0, "0% of the first answers end by themselves", "never taught its stop token")


def test_doctor_measures_how_likely_a_model_stops_where_people_did(place: Any, tiny_model: Path) -> None:
    words = ("--learning-rate", "1e-2", "--epochs", 12)
    place.train("sft", tiny_model, DEMOS, *words).expect(0)
    data = place.folder / "rows.jsonl"
    before = findings(place("doctor", "--json", "--model", tiny_model, "--data", data).expect(0))["stopping"]
    after = findings(place("doctor", "--json", "--model", place.folder / "run/model", "--data", data))["stopping"]
    assert before["state"] == "note" and "not trained" in before["fix"] and after["state"] == "ok"


@pytest.mark.parametrize("pad", ["the stop token itself", "none"])
def test_pad_that_is_the_stop_token_is_replaced(pad: str, place: Any, tiny_model: Path) -> None:
    folder = place.copy(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token if pad != "none" else None
    tokenizer.save_pretrained(folder)
    place("doctor", "--model", folder).expect(0, pad, "instead and saves it with the model")
    place.train("sft", folder, DEMOS, "--steps", 1).expect(0)
    saved = AutoTokenizer.from_pretrained(place.folder / "run/model")
    assert saved.pad_token_id not in (None, saved.eos_token_id)


# ---- reference, ratio, sampling


@pytest.mark.parametrize("more", [("--lora",), ()])
def test_the_reference_of_an_adapter_on_an_adapter_is_the_sft_model(more: tuple[str], place: Any, tiny_model: Path):
    from tutelage.batches import TokenBatch
    from tutelage.models.load import load_policy
    from tutelage.models.lora import LoRA
    from tutelage.models.reference import Reference

    sft = ("--lora", "--learning-rate", "3e-2", "--epochs", 5)
    place.train("sft", tiny_model, DEMOS, *sft).expect(0)
    adapter = place.folder / "run/model"
    assert (adapter / "adapter_config.json").is_file()
    out = ("--out", place.folder / "dpo", "--dry-run")
    said = place("dpo", "--model", adapter, "--data", place.rows(PAIRS), "--batch-size", 4, *out, *more).expect(0)
    assert "'preflight/dpo_loss': 0.6931" in said.out
    batch = TokenBatch.of([([5, 9, 30, 31, 1], [False, True, True, True, True])])
    reference = Reference(load_policy(str(adapter), lora=LoRA() if more else None)).logprobs(batch).logprobs
    wanted, base = (load_policy(str(name)).logprobs(batch).logprobs for name in (adapter, tiny_model))
    assert torch.allclose(reference, wanted, atol=1e-5) and not torch.allclose(reference, base, atol=1e-2)


def test_an_adapter_whose_base_is_gone_is_refused_at_once(place: Any, tiny_model: Path) -> None:
    base = place.copy(tiny_model, "base")
    place.train("sft", base, DEMOS, "--lora", "--steps", 1).expect(0)
    base.rename(place.folder / "moved")
    words = ("--out", place.folder / "dpo", "--quiet")
    said = place("dpo", "--model", place.folder / "run/model", "--data", place.rows(PAIRS), *words)
    said.expect(65, "the adapter's base model", "is not there", "base_model_name_or_path")


def online(model: Path, place: Any, **settings: Any) -> Any:
    """PPO and its parts, ready to collect."""
    from tutelage.algorithms.ppo import PPO
    from tutelage.toolbox import Toolbox

    given: dict[str, Any] = {"max_length": 100, "max_new_tokens": 8, "critic_init": "zero", "batch_size": 4}
    data = place.rows(PROMPTS)
    config = PPO.Config(model=str(model), data=data, reward="silent_rewards:size", **given, **settings)
    return PPO(config, Toolbox(config, place.folder, str))


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_another_temperature_in_sampling_than_in_scoring_stops_before_the_first_step(
    temperature: float, place: Any, tiny_model: Path
) -> None:
    from tutelage.errors import DivergedError
    from tutelage.sampling import Sampling
    from tutelage.sampling.local import Local

    algorithm = online(tiny_model, place)
    sampling = Sampling(max_new_tokens=8, temperature=temperature)
    algorithm.parts.__dict__["sampler"] = Local(algorithm.parts.renderer, sampling)
    experience = algorithm.collect(0)
    if temperature == 1.0:
        assert algorithm.preflight(experience)["preflight/sampled_gap"] < 1e-4
        return
    with pytest.raises(DivergedError, match="sampled and trained log-probabilities differ") as told:
        algorithm.preflight(experience)
    assert told.value.exit_code == 70


def test_a_ratio_that_does_not_begin_at_one_stops_before_the_first_step(place: Any, tiny_model: Path) -> None:
    from tutelage.errors import DivergedError

    algorithm = online(tiny_model, place)
    experience = algorithm.collect(0)
    with torch.no_grad():
        for weight in algorithm.parts.policy.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    with pytest.raises(DivergedError, match="ratio and 1 differ"):
        algorithm.preflight(experience)


def test_a_moved_reference_stops_dpo_before_the_first_step(place: Any, tiny_model: Path) -> None:
    from tutelage.algorithms.dpo import DPO
    from tutelage.errors import DivergedError
    from tutelage.toolbox import Toolbox

    config = DPO.Config(model=str(tiny_model), data=place.rows(PAIRS), batch_size=8)
    algorithm = DPO(config, Toolbox(config, place.folder, str))
    with torch.no_grad():
        for weight in algorithm.parts.policy.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(1))
    with pytest.raises(DivergedError, match="the reference is not the starting model"):
        algorithm.preflight(algorithm.collect(0))


@pytest.mark.parametrize("flag", ["top-p", "top-k", "repetition-penalty"])
def test_truncated_sampling_cannot_be_asked_for_in_training(flag: str, place: Any, tiny_model: Path) -> None:
    place.train("ppo", tiny_model, PROMPTS, *PPO, f"--{flag}", "0.9").expect(
        2, f"--{flag}", "the ratio and the KL wrong"
    )
    (place.folder / "ppo.yaml").write_text(f"{flag.replace('-', '_')}: 0.9\n")
    place("ppo", place.folder / "ppo.yaml").expect(2, "unknown key", "ppo.yaml:1:1", "the ratio and the KL wrong")


def test_dropout_is_off_and_said_so(place: Any, model_folder: Callable[[str], Path]) -> None:
    folder = place.copy(model_folder("gpt2"))
    config = AutoConfig.from_pretrained(folder)
    config.attn_pdrop = config.resid_pdrop = config.embd_pdrop = 0.3
    config.save_pretrained(folder)
    place("doctor", "--model", folder).expect(0, "attn_pdrop 0.3", "switches it off")
    data, run = place.rows(PROMPTS), place.folder / "run"
    words = ("--model", folder, "--data", data, "--out", run, "--batch-size", 4, "--reward", "silent_rewards:size")
    said = place("ppo", *words, *PPO, "--dry-run").expect(0, "dropout is off, though config.json asks for")
    error = re.search(r"'preflight/ratio_error': ([^,}]+)", said.out)
    assert error and float(error[1]) < 1e-5


# ---- rewards


@pytest.mark.parametrize("more", [("--dry-run",), ()])
def test_a_constant_reward_is_told_on_the_first_batch(more: tuple[str], place: Any, tiny_model: Path) -> None:
    said = place.train("ppo", tiny_model, PROMPTS, *PPO, "--reward", "silent_rewards:same", *more)
    said.expect(0, "all answers of a batch get the same reward", "from the first batch on", "nothing can be learned")
    assert said.err.count("the same reward") == (1 if more else 2), "when it is seen, and in the summary"


def test_a_reward_with_its_sign_flipped_is_found_by_the_pairs(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, passing = place.rows(PAIRS), tmp_path / "passing"
    passing.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(passing))
    place("doctor", "--data", data, "--reward", "silent_rewards:kind").expect(0, "ranks 100% of 40 pairs")
    said = place("doctor", "--data", data, "--reward", "silent_rewards:rude")
    said.expect(65, "ranks 0% of 40 pairs", "sign is flipped")
    place("doctor", "--data", data, "--reward", "silent_rewards:same").expect(65, "gives all answers 1")
    place("doctor", "--data", data, "--reward", "silent_rewards:size").expect(0, "correlation +1.00", "length alone")
    assert not list(passing.iterdir()), "looking leaves nothing behind"


def test_swapped_labels_are_heard_of_on_held_out_pairs(place: Any, tiny_model: Path) -> None:
    held_out = place.rows(SWAPPED, "test.jsonl")
    words = ("--learning-rate", "3e-3", "--epochs", 3, "--max-length", 100, "--eval-data", held_out)
    said = place.train("reward", tiny_model, PAIRS, *words)
    said.expect(0, "of the held-out pairs are ranked as people did", "chosen and rejected are swapped")


@pytest.mark.parametrize("right", [True, False])
def test_labels_that_contradict_the_scores_beside_them(right: bool, place: Any, tiny_model: Path) -> None:
    scores = {"score_chosen": 5.0, "score_rejected": 2.0} if right else {"score_chosen": 2.0, "score_rejected": 5.0}
    rows = [row | scores for row in PAIRS]
    told = place("data", "check", place.rows(rows)).expect(0)
    trained = place.train("dpo", tiny_model, rows, "--steps", 1).expect(0)
    examined = place("doctor", "--data", place.rows(rows)).expect(0 if right else 65)
    for said in (told, trained, examined):
        assert ("look swapped" in said.out + said.err) != right


@pytest.mark.parametrize("case", ["order of indices", "no rank one", "one rater", "right"])
def test_ranks_upside_down_as_far_as_they_can_be_seen(case: str, place: Any) -> None:
    base = {"prompt": "p", "completions": ["a", "b", "c"]}
    rows: list[dict[str, Any]] = [base | {"prompt": f"p{n}", "ranks": [1, 2, 3], "scores": [9, 5, 1]} for n in range(6)]
    if case == "order of indices":  # ascending argsort of the scores, taken for ranks
        rows = [row | {"ranks": [3, 2, 1]} for row in rows]
    elif case == "no rank one":
        rows = [row | {"ranks": [2, 3, 4], "scores": None} for row in rows]
    elif case == "one rater":
        rows = [
            base | {"prompt": f"p{n}", "ranks": ranks, "rater": rater}
            for n in range(4)
            for rater, ranks in (("ann", [1, 2, 3]), ("bob", [1, 2, 3]), ("cy", [3, 2, 1]), ("di", [1, 2, 3]))
        ]
    said = place("data", "check", place.rows(rows)).expect(0)
    words = {"order of indices": "upside down", "no rank one": "have no rank 1", "one rater": "rater 'cy' contradicts"}
    assert (words[case] in said.err) if case in words else "warning" not in said.err, said.err


@pytest.mark.parametrize("kind", ["unpaired", "weights", "ties", "scores"])
def test_labels_that_teach_nothing(kind: str, place: Any) -> None:
    ask = {"prompt": "p", "completion": "c"}
    rows = {
        "unpaired": [ask | {"prompt": f"p{n}", "label": True} for n in range(6)],
        "weights": [row | {"weight": 0} for row in PAIRS],
        "ties": [{"prompt": f"p{n}", "completions": ["a", "b"], "ranks": [1, 1]} for n in range(6)],
        "scores": [ask | {"prompt": f"p{n}", "ratings": [{"rater": "r", "score": 3}]} for n in range(6)],
    }[kind]
    said = place("data", "check", place.rows(rows)).expect(0)
    assert ("labelled good" if kind == "unpaired" else "nothing is learned") in said.err


TIED = [row | {"tie": True} for row in PAIRS]
LIGHT = [row | {"weight": 0} for row in PAIRS]
RANKED = [{"prompt": f"p{n}", "completions": ["a", "b"], "ranks": [1, 1]} for n in range(6)]
SINGLE = [{"prompt": f"p{n}", "completion": "c", "label": n % 2 == 0, "weight": 0} for n in range(6)]
UNHEARD = [
    {
        "prompt": f"p{n}",
        "completion": "c",
        "ratings": [{"rater": "r", "score": n % 5}],
        "meta": {"rater_weights": {"r": 0}},
    }
    for n in range(6)
]
SAME = [{"prompt": f"p{n}", "completion": "c", "ratings": [{"rater": "r", "score": 3}]} for n in range(6)]


@pytest.mark.parametrize(
    ("command", "rows", "reason"),
    [
        (("reward", "--ties", "davidson"), TIED, "all 40 rows are ties"),
        (("reward",), LIGHT, "all 40 rows have weight 0"),
        (("reward", "--ties", "davidson"), TIED[:10] + LIGHT[:5], "of 15 rows 5 have weight 0 and 10 are ties"),
        (("reward", "--kind", "plackett-luce"), RANKED, "all 6 rows are ties"),
        (("reward", "--kind", "pointwise"), SAME, "all 6 rows have the score 3"),
        (("reward", "--kind", "pointwise"), UNHEARD, "all 6 rows have weight 0"),
        (("reward", "--kind", "ridge"), TIED, "all 40 rows are ties"),
        (("reward", "--kind", "svm"), LIGHT, "all 40 rows have weight 0"),
        (("reward", "--kind", "ridge"), SAME, "all 6 rows have the score 3"),
        (("dpo",), LIGHT, "all 40 rows have weight 0"),
        (("dpo",), TIED, "the pair is a tie"),
        (("kto",), SINGLE, "all 6 rows have weight 0"),
    ],
)
def test_labels_of_which_none_weighs_and_distinguishes_are_refused(
    command: tuple[str, ...], rows: list[dict[str, Any]], reason: str, place: Any, tiny_model: Path
) -> None:
    said = place.train(command[0], tiny_model, rows, *command[1:], "--max-length", 100, "--dry-run").expect(65)
    assert reason in said.err, said.err


def test_one_row_that_says_something_is_enough(place: Any, tiny_model: Path) -> None:
    place.train("dpo", tiny_model, [*LIGHT, PAIRS[0]], "--max-length", 100, "--dry-run").expect(0)


def test_held_out_labels_that_say_nothing_are_told(place: Any, tiny_model: Path) -> None:
    held = [row | {"prompt": f"other {row['prompt']}"} for row in LIGHT]
    more = ("--eval-data", place.rows(held, "held.jsonl"), "--max-length", 100, "--dry-run")
    said = place.train("reward", tiny_model, PAIRS, *more).expect(0)
    assert "nothing is measured on them" in said.err


def test_a_reward_model_that_reads_another_template_than_the_policy_writes(
    place: Any, tiny_model: Path, tiny_chat_model: Path
) -> None:
    pairs = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}]} for row in PAIRS]
    words = ("--max-length", 100, "--steps", 1)
    place.train("reward", tiny_chat_model, pairs, *words).expect(0)
    reward = place.folder / "run/model"
    other = with_template(place, tiny_chat_model, CHATML.replace("assistant", "assistant:"))
    for model, warned in ((other, True), (tiny_chat_model, False)):
        line = ("--model", model, "--data", place.rows(CHATS), "--out", place.folder / "ppo", "--reward", reward)
        said = place("ppo", *line, *PPO, "--batch-size", 4, "--dry-run", "--quiet").expect(0)
        assert ("renders chats with another template" in said.err) == warned
        out = place.folder / f"best-{warned}.jsonl"
        best = ("--out", out, "--reward", reward, "--best-of", 2, "--max-new-tokens", 4, "--quiet")
        said = place("sample", "--model", model, "--data", place.rows(CHATS), *best).expect(0)
        assert ("renders chats with another template" in said.err) == warned


# ---- data


def test_pairs_of_two_equal_answers_are_refused(place: Any, tiny_model: Path) -> None:
    rows = [*PAIRS, {"prompt": "a", "chosen": "x", "rejected": "x "}]
    place.train("dpo", tiny_model, rows).expect(65, "chosen and rejected are the same", "rows.jsonl:41:")


def test_rows_are_refused_and_never_cut_down_to_nothing(place: Any, tiny_model: Path) -> None:
    rows = [{"prompt": "word " * 60, "completion": " yes"}] * 7 + DEMOS[:1]
    place.train("sft", tiny_model, rows).expect(65, "7 of 8 rows cannot be used", "the limit of 128")
    said = place.train("sft", tiny_model, rows, "--on-bad", "skip", "--steps", 1)
    said.expect(0, "left out 7 of 8 rows")
    place("data", "check", place.rows(rows), "--model", tiny_model, "--max-length", 40).expect(65, "the limit of 40")


def test_a_file_of_which_nothing_is_left_is_an_error(place: Any, tiny_model: Path) -> None:
    rows = [{"prompt": "word " * 60, "completion": " yes"}] * 8
    said = place.train("sft", tiny_model, rows, "--on-bad", "skip")
    said.expect(65, "no rows are left to train on", "rows.jsonl")


def test_evaluation_data_of_which_nothing_is_left_is_an_error(place: Any, tiny_model: Path) -> None:
    held_out = place.rows([{"prompt": "word " * 60, "completion": " yes"}] * 3, "test.jsonl")
    said = place.train("sft", tiny_model, DEMOS, "--on-bad", "skip", "--eval-data", held_out)
    said.expect(65, "no rows are left to evaluate on", "test.jsonl")
    place.train("sft", tiny_model, DEMOS, "--steps", 1, "--eval-every", 1).expect(0, "measures nothing without")


def test_prompts_in_training_and_in_evaluation_are_told_even_when_quiet(place: Any, tiny_model: Path) -> None:
    held_out = place.rows(DEMOS[:3], "test.jsonl")
    said = place.train("sft", tiny_model, DEMOS, "--steps", 1, "--eval-data", held_out)
    said.expect(0, "3 of 3 prompts of --eval-data are learned on too")
    place("data", "check", place.rows(DEMOS), "--against", held_out).expect(0, "3 of 3 prompts", "results would leak")


# ---- text and tokens


@pytest.mark.parametrize("drops", ["thoughts", "all", "half"])
def test_a_template_that_changes_the_answer_is_refused(drops: str, place: Any, tiny_model: Path) -> None:
    shown = {"thoughts": "{{ m['content'].split('</think>')[-1] }}", "half": "{{ m['content'][:5] }}"}
    body = (
        "{% if m['role'] == 'assistant' %}"
        + shown.get(drops, "")
        + "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n"
    )
    folder = with_template(place, tiny_model, HEAD + body + TAIL)
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "<think>hm</think> Well then"}]
    said = place.train("sft", folder, [{"messages": turns}] * 4)
    said.expect(65, "the chat template changes the answer", "rows.jsonl:1", "mend")
    doctor = place("doctor", "--model", folder)
    doctor.expect(0 if drops == "thoughts" else 65, "the chat template changes the answer")


def test_a_template_that_leaves_out_the_system_message_is_refused(place: Any, tiny_model: Path) -> None:
    body = "{% if m['role'] != 'system' %}{{ m['content'] }}{% endif %}<|im_end|>\n"
    folder = with_template(place, tiny_model, HEAD + body + TAIL)
    turns = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}]
    rows = [{"messages": [*turns, {"role": "assistant", "content": "Well"}]}] * 4
    place.train("sft", folder, rows).expect(65, "leaves out or changes a system message", "'Be kind'")
    place("doctor", "--model", folder).expect(0, "template: system", "leaves out")


@pytest.mark.parametrize("where", ["template", "text"])
def test_one_beginning_never_two(where: str, place: Any, tiny_model: Path) -> None:
    template = "{{ bos_token }}{{ bos_token }}" + CHATML if where == "template" else "{{ bos_token }}" + CHATML
    folder = with_template(place, tiny_model, template)
    if where == "template":
        rows = [{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well"}]}] * 4
        place.train("sft", folder, rows).expect(65, "'<s>' twice", "chat_template")
        place("doctor", "--model", folder).expect(65, "'<s>' twice")
    else:
        place.train("sft", folder, [{"prompt": "<s><s>Hi", "completion": " x"}] * 4).expect(65, "'<s>' twice")


def test_an_answer_never_changes_the_tokens_of_its_prompt(place: Any, tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    prompt, completion = "the ma", "yor opened"
    apart = tokenizer(prompt)["input_ids"]
    assert tokenizer(prompt + completion)["input_ids"][: len(apart)] != apart, "this pair merges at the border"
    data = place.rows([{"prompt": prompt, "completion": completion}])
    shown = json.loads(place("data", "inspect", data, "--model", tiny_model, "--json").out.splitlines()[-1])
    assert shown["tokens"][: len(apart)] == apart and shown["mask"].index(True) == len(apart)


def test_special_tokens_as_plain_text_are_told(place: Any, tiny_model: Path) -> None:
    rows = [*DEMOS, {"prompt": "Say it:", "completion": " so</s> and on"}]
    said = place("data", "check", place.rows(rows), "--model", tiny_model)
    said.expect(0, "'</s>' as text", "control token")


# ---- models and settings


def test_weights_that_are_not_numbers_are_refused(place: Any, tiny_model: Path) -> None:
    folder = place.copy(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    place.train("sft", folder, DEMOS).expect(65, "1 of 2048 numbers of", "up_proj", "not finite", str(folder))
    place("doctor", "--model", folder).expect(65, "up_proj.weight holds NaN")


def test_a_tokenizer_with_more_tokens_than_the_model_embeds_is_refused(place: Any, tiny_model: Path) -> None:
    folder = place.copy(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens([f"<new{n}>" for n in range(200)])
    tokenizer.save_pretrained(folder)
    place.train("sft", folder, DEMOS).expect(
        65, "but the model embeds 384", "tokenizer that the model was trained with"
    )
    place("doctor", "--model", folder).expect(65, "384 embedded: some tokens have no row")


def test_a_limit_beyond_the_models_positions_is_never_silent(place: Any, tiny_model: Path) -> None:
    row = {"prompt": "w " * 150, "completion": "a"}
    place.train("sft", tiny_model, [row], "--max-length", 4096).expect(65, "the model reads 128 tokens and no more")
    text = [{"text": "one two three " * 90}]
    place.train("pretrain", tiny_model, text, "--max-length", 200).expect(2, "128 positions", "--max-length 128")
    place("doctor", "--model", tiny_model).expect(0, "longest sequence", "128 tokens")
    place("doctor", "--model", tiny_model, "--data", place.rows([row])).expect(65, "the limit of 128")


@pytest.mark.parametrize(("rate", "warned"), [("5", True), ("1e-12", True), ("1e-3", False)])
def test_a_learning_rate_out_of_all_proportion_is_told(rate: str, warned: bool, place: Any, tiny_model: Path) -> None:
    said = place.train("sft", tiny_model, DEMOS, "--steps", 1, "--learning-rate", rate, "--dry-run").expect(0)
    assert ("the learning rate of the policy is" in said.err) == warned


@pytest.mark.parametrize("key", ["lerning_rate", "num_generation", "max_lenght"])
def test_a_misspelt_key_is_an_error_with_a_suggestion(key: str, place: Any, tiny_model: Path) -> None:
    (place.folder / "ppo.yaml").write_text(f"model: x\n{key}: 3\n")
    place("ppo", place.folder / "ppo.yaml").expect(2, f"unknown key '{key}'", "ppo.yaml:2:1")
    place.train("ppo", tiny_model, PROMPTS, f"--{key.replace('_', '-')}", 3).expect(2, key.replace("_", "-"))


@pytest.mark.parametrize("value", [("--batch-size", "0", "wanted ≥ 1"), ("--warmup", "2", "wanted ≥ 0 and ≤ 1")])
def test_a_number_out_of_range_hears_the_range(value: tuple[str, str, str], place: Any, tiny_model: Path) -> None:
    place("sft", "--model", tiny_model, "--data", "x", "--out", "y", *value[:2]).expect(2, "makes no sense", value[2])


# ---- all of it at once


def test_a_healthy_run_hears_no_warning(place: Any, tiny_chat_model: Path) -> None:
    rows = [
        {"prompt": f"Say {n}:", "chosen": f" {n}" * (2 + n % 2), "rejected": " no" * (2 + n // 2 % 2)}
        for n in range(40)
    ]
    data = place.rows(rows)
    for command, more in (("reward", ("--learning-rate", "1e-4")), ("dpo", ())):
        out = ("--out", place.folder / command, "--steps", 2, "--batch-size", 8, "--max-length", 100)
        for dry in (("--dry-run",), ()):
            said = place(command, "--model", tiny_chat_model, "--data", data, *out, *more, *dry).expect(0)
            assert "warning" not in said.err, said.err
    place("data", "check", data).expect(0, "no problems")
    place("doctor", "--model", tiny_chat_model, "--data", data).expect(0, "0 problems")


def test_the_table_names_these_tests() -> None:
    page = (REPO / "docs" / "checks.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    here = {name for name in globals() if name.startswith("test_")}
    assert named <= here, f"docs/checks.md names tests that are not here: {sorted(named - here)}"
    assert len(named) >= 20
