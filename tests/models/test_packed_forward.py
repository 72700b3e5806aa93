"""Packed rows through stock models: the numbers are those of the stock forward, and neighbours never matter."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from tests_support import ADAPTABLE, ARCHITECTURES, batch_of, random_rows
from tutelage.batches import TokenBatch
from tutelage.errors import DataError, MissingInputError, UsageError
from tutelage.models.load import load_policy, load_scorer
from tutelage.models.lora import LoRA
from tutelage.models.reference import Reference


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("lengths", [(7, 7, 7), (5, 30, 9), (40, 3, 3, 3, 3, 3)])
def test_packed_logprobs_equal_the_stock_forward_of_each_sequence_alone(model_folder, architecture, lengths):
    folder = model_folder(architecture)
    policy = load_policy(str(folder), device="cpu")
    stock = AutoModelForCausalLM.from_pretrained(folder).eval()
    rows = random_rows(lengths)
    found = policy.logprobs(batch_of(rows), temperature=0.7)
    for row, ids in enumerate(rows):
        with torch.no_grad():
            logprobs = torch.log_softmax(stock(torch.tensor([ids])).logits[0].float() / 0.7, -1)
        wanted = logprobs[:-1].gather(1, torch.tensor(ids[1:])[:, None])[:, 0]
        entropy = -(logprobs.exp() * logprobs).sum(-1)[:-1]
        torch.testing.assert_close(found.logprobs[row, : len(wanted)], wanted, atol=2e-5, rtol=0)
        torch.testing.assert_close(found.entropy[row, : len(wanted)], entropy, atol=2e-5, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_do_not_depend_on_how_rows_are_packed_together(model_folder, architecture):
    policy = load_policy(str(model_folder(architecture)), device="cpu")
    rows = random_rows((6, 25, 11))

    def gradients(batches: list[TokenBatch]) -> list[torch.Tensor]:
        policy.zero_grad()
        for batch in batches:
            policy.logprobs(batch).logprobs.sum().backward()
        return [p.grad.clone() for p in policy.parameters() if p.grad is not None]

    together = gradients([batch_of(rows)])
    alone = gradients([batch_of([row]) for row in rows])
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_a_sliding_window_is_kept_when_sequences_are_longer_than_it(model_folder, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(model_folder("mistral"), sliding_window=8)
    model.save_pretrained(tmp_path)
    load_policy(str(model_folder("mistral")), device="cpu").tokenizer.save_pretrained(tmp_path)
    policy = load_policy(str(tmp_path), device="cpu")
    rows = random_rows((30, 12))
    stock = AutoModelForCausalLM.from_pretrained(tmp_path, attn_implementation="eager").eval()
    found = policy.logprobs(batch_of(rows)).logprobs
    with torch.no_grad():
        logprobs = torch.log_softmax(stock(torch.tensor([rows[0]])).logits[0], -1)
    wanted = logprobs[:-1].gather(1, torch.tensor(rows[0][1:])[:, None])[:, 0]
    torch.testing.assert_close(found[0], wanted, atol=2e-5, rtol=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_scorer_reads_the_last_real_token_and_reloads_in_stock_transformers(model_folder, architecture, tmp_path):
    scorer = load_scorer(str(model_folder(architecture)), device="cpu", seed=3)
    rows = random_rows((9, 14))
    found = scorer.scores(batch_of(rows)).tolist()
    scorer.save(tmp_path)
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert stock.config.num_labels == 1
    with torch.no_grad():
        wanted = [float(stock(torch.tensor([row])).logits) for row in rows]
        padded = torch.full((2, 14), stock.config.pad_token_id)
        mask = torch.zeros(2, 14, dtype=torch.long)
        for row, ids in enumerate(rows):
            padded[row, : len(ids)], mask[row, : len(ids)] = torch.tensor(ids), 1
        right_padded = stock(padded, attention_mask=mask).logits[:, 0].tolist()
    assert found == pytest.approx(wanted, abs=2e-5) and found == pytest.approx(right_padded, abs=2e-5)
    again = load_scorer(str(tmp_path), device="cpu").scores(batch_of(rows)).tolist()
    assert again == pytest.approx(found, abs=1e-6)


def test_values_are_read_one_position_before_the_token_they_belong_to(tiny_model):
    critic = load_scorer(str(tiny_model), device="cpu", seed=1)
    rows = random_rows((8, 5))
    values = critic.values(batch_of(rows))
    for row, ids in enumerate(rows):
        for place in range(1, len(ids)):
            before = critic.scores(batch_of([ids[:place]]))
            torch.testing.assert_close(values[row, place - 1], before[0], atol=2e-5, rtol=0)


def test_a_critic_that_starts_at_zero_expects_nothing(tiny_model):
    critic = load_scorer(str(tiny_model), device="cpu", head="zero")
    assert critic.values(batch_of(random_rows((8, 5)))).abs().max() == 0


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_policy_answers_the_same_in_stock_transformers(model_folder, architecture, tmp_path):
    policy = load_policy(str(model_folder(architecture)), device="cpu")
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(0.01)
    policy.save(tmp_path)
    rows = random_rows((12,))
    stock = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        logits = stock(torch.tensor([rows[0]])).logits[0]
    wanted = torch.log_softmax(logits, -1)[:-1].gather(1, torch.tensor(rows[0][1:])[:, None])[:, 0]
    torch.testing.assert_close(policy.logprobs(batch_of(rows)).logprobs[0], wanted, atol=2e-5, rtol=0)
    assert stock.generation_config.eos_token_id == policy.eos_ids[0]


@pytest.mark.parametrize("architecture", ADAPTABLE)
def test_under_lora_the_reference_is_the_base_and_training_moves_the_adapter_only(model_folder, architecture, tmp_path):
    policy = load_policy(str(model_folder(architecture)), device="cpu", lora=LoRA(rank=4))
    reference, batch = Reference(policy), batch_of(random_rows((9, 6)))
    before = policy.logprobs(batch).logprobs.detach()
    assert torch.equal(before, reference.logprobs(batch).logprobs), "a fresh adapter changes nothing"
    trained = [name for name, p in policy.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in name for name in trained)
    with torch.no_grad():
        for name, parameter in policy.named_parameters():
            if "lora_B" in name:
                parameter.fill_(0.05)
    moved = policy.logprobs(batch).logprobs.detach()
    assert (moved - before).abs().max() > 1e-4
    torch.testing.assert_close(reference.logprobs(batch).logprobs, before, atol=1e-6, rtol=0)
    policy.save(tmp_path)
    assert (tmp_path / "adapter_model.safetensors").is_file()
    folded = load_policy(str(tmp_path), device="cpu")
    torch.testing.assert_close(folded.logprobs(batch).logprobs, moved, atol=1e-4, rtol=0)


def moved(backbone):
    """The same with its adapter (or all of it) somewhere else."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return backbone


@pytest.mark.parametrize("architecture", ADAPTABLE)
def test_an_adapter_on_an_adapter_starts_from_the_sum_and_is_saved_with_it(model_folder, architecture, tmp_path):
    batch, lora = batch_of(random_rows((9, 6))), LoRA(rank=4)
    first = moved(load_policy(str(model_folder(architecture)), device="cpu", lora=lora))
    first.save(tmp_path / "sft")
    second = load_policy(str(tmp_path / "sft"), device="cpu", lora=lora)
    reference = Reference(second)
    wanted = first.logprobs(batch).logprobs.detach()
    moved(second)
    torch.testing.assert_close(reference.logprobs(batch).logprobs, wanted, atol=1e-4, rtol=0)
    second.save(tmp_path / "dpo")
    again = load_policy(str(tmp_path / "dpo"), device="cpu")
    torch.testing.assert_close(again.logprobs(batch).logprobs, second.logprobs(batch).logprobs, atol=1e-4, rtol=0)
    assert (again.logprobs(batch).logprobs - wanted).abs().max() > 1e-3
    scorer = moved(load_scorer(str(tmp_path / "sft"), device="cpu", lora=lora))
    scorer.save(tmp_path / "reward")
    read = load_scorer(str(tmp_path / "reward"), device="cpu", head="trained").scores(batch)
    torch.testing.assert_close(read, scorer.scores(batch), atol=1e-4, rtol=0)


@pytest.mark.parametrize("load", [load_policy, load_scorer])
def test_an_adapter_on_a_base_that_was_given_a_pad_token_loads_again(load, model_folder, tmp_path):
    stock, tokenizer = (
        AutoModelForCausalLM.from_pretrained(model_folder("llama")),
        AutoTokenizer.from_pretrained(model_folder("llama")),
    )
    tokenizer._tokenizer = type(tokenizer._tokenizer).from_str(tokenizer._tokenizer.to_str().replace("<pad>", "<odd>"))
    tokenizer.pad_token = None
    stock.save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    made = moved(load(str(tmp_path / "base"), device="cpu", lora=LoRA(rank=4)))
    assert any("grew" in note for note in made.notes)
    made.save(tmp_path / "out")
    rows = random_rows((9, 6))
    one, two = (model.hidden(batch_of(rows)) for model in (made, load(str(tmp_path / "out"), device="cpu")))
    torch.testing.assert_close(one, two, atol=1e-4, rtol=0)


def test_the_output_layer_takes_no_adapter_since_it_would_never_learn(tiny_model):
    with pytest.raises(UsageError, match="output layer"):
        load_policy(str(tiny_model), device="cpu", lora=LoRA(rank=4, targets="q_proj,lm_head"))


def test_a_saved_policy_stops_where_its_chat_template_ends_an_answer(tiny_chat_model, tmp_path):
    policy = load_policy(str(tiny_chat_model), device="cpu")
    policy.save(tmp_path)
    stops = AutoModelForCausalLM.from_pretrained(tmp_path).generation_config.eos_token_id
    assert policy.tokenizer.convert_ids_to_tokens(stops) == ["<|im_end|>", "</s>"]


def test_the_reference_stays_when_the_policy_moves(tiny_model):
    policy = load_policy(str(tiny_model), device="cpu")
    reference, batch = Reference(policy), batch_of(random_rows((9, 6)))
    before = reference.logprobs(batch).logprobs
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(1.1)
    assert torch.equal(reference.logprobs(batch).logprobs, before)
    assert not torch.equal(policy.logprobs(batch).logprobs, before)


def test_a_missing_folder_and_a_folder_without_a_model_are_named(tmp_path):
    with pytest.raises(MissingInputError, match="no model folder"):
        load_policy(str(tmp_path / "nothing"))
    with pytest.raises(DataError, match=r"config\.json is missing"):
        load_policy(str(tmp_path))
    with pytest.raises(UsageError, match="no model was named"):
        load_policy("")


def test_damaged_weights_and_pickled_weights_are_refused(model_folder, tmp_path):
    import shutil

    folder = shutil.copytree(model_folder("llama"), tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(DataError, match="cannot be loaded"):
        load_policy(str(folder))
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="cannot be loaded"):
        load_policy(str(folder))


def test_a_sequence_beyond_the_models_positions_is_refused(model_folder):
    policy = load_policy(str(model_folder("gpt2")), device="cpu")
    with pytest.raises(UsageError, match="does not fit the model's 128 positions"):
        policy.logprobs(batch_of(random_rows((129,))))


def test_an_id_beyond_the_embedding_is_refused_though_the_tokenizer_is_short(model_folder, tmp_path):
    folder = tmp_path / "gap"
    shutil.copytree(model_folder("llama"), folder)
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.__getitem__)] = 500
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(DataError, match="ids go up to 500 but the model embeds 384"):
        load_policy(str(folder), device="cpu")
