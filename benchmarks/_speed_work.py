"""Makes the one start that all sides share: weights, scorer, tokenizer, and rows in the order in which they are read.

Runs in tutelage's environment. A folder that is complete is used again.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

from _speed_jobs import SEED, Job, Model, rows

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


def prepare(folder: Path, model: Model, device: str = "cpu") -> Path:
    """`folder/model`, `folder/scorer` and `folder/words.json`; the same shape gives the same weights on one machine."""
    if not (folder / "words.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        words = _start(folder, model, device)
        (folder / "words.json").write_text(json.dumps(words), encoding="utf-8")
    return folder


def write_rows(folder: Path, job: Job, steps: int) -> tuple[Path, Path, list[dict[str, str]]]:
    """Rows for `steps` steps: one file as tutelage reads it, one in the order in which tutelage will read it."""
    from tutelage.data.loader import Order

    words = json.loads((folder / "words.json").read_text(encoding="utf-8"))
    count = steps * job.batch
    made = rows(job, words, count)
    made = [{"id": f"{job.data}-{index}"} | row for index, row in enumerate(made)]
    order = Order(count, job.batch, SEED)
    ordered = [made[index] for step in range(steps) for index in order.indices(step)]
    name = "-".join(str(part) for part in (job.name, job.batch, *job.tokens, steps))
    ours, theirs = folder / f"{name}.jsonl", folder / f"{name}-ordered.jsonl"
    for path, some in ((ours, made), (theirs, ordered)):
        path.write_text("".join(json.dumps(row) + "\n" for row in some), encoding="utf-8")
    return ours, theirs, ordered


def sha256(folder: Path) -> str:
    """Of the weights in a model folder."""
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def _start(folder: Path, model: Model, device: str) -> list[str]:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from tutelage.models.load import load_scorer
    from tutelage.models.new import new_tokenizer

    lexicon = _lexicon(6000)
    tokenizer = new_tokenizer([" " + word for word in lexicon], min(model.vocab, 16384))
    words = [word for word in (f" {word}" for word in lexicon) if len(tokenizer(word)["input_ids"]) == 1]
    torch.manual_seed(SEED)
    config = AutoConfig.for_model(model.kind, **_sizes(model, tokenizer))
    made = AutoModelForCausalLM.from_config(config)
    target = folder / "model"
    made.save_pretrained(str(target))
    tokenizer.save_pretrained(str(target))
    _teach(target, model, words, device)
    load_scorer(str(target), dtype="float32", device="cpu", head="normal", seed=SEED).save(folder / "scorer")
    return words


def _sizes(model: Model, tokenizer: Any) -> dict[str, Any]:
    ids = {"pad_token_id": tokenizer.pad_token_id, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    if model.kind == "gpt2":
        return ids | {
            "vocab_size": model.vocab, "n_embd": model.hidden, "n_layer": model.layers, "n_head": model.heads,
            "n_positions": model.context, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
        }  # fmt: skip
    return ids | {
        "vocab_size": model.vocab, "hidden_size": model.hidden, "num_hidden_layers": model.layers,
        "num_attention_heads": model.heads, "num_key_value_heads": model.kv_heads, "head_dim": model.head_dim,
        "intermediate_size": model.mlp, "max_position_embeddings": model.context, "tie_word_embeddings": model.tied,
    }  # fmt: skip


def _teach(target: Path, model: Model, words: list[str], device: str) -> None:
    """A few steps on documents of geometric length, mean 40 tokens: the stop token gets a real hazard."""
    import torch

    from tutelage.algorithms._likelihood import token_loss
    from tutelage.data.pack import pack
    from tutelage.data.template import Renderer
    from tutelage.models.load import load_policy

    policy = load_policy(str(target), dtype="bfloat16", device=device)
    renderer = Renderer(policy.tokenizer)
    draw = random.Random(SEED)
    weights = [1 / (rank + 5) for rank in range(len(words))]
    adam = torch.optim.AdamW(policy.parameters(), lr=model.rate, fused=True)
    for _ in range(model.taught):
        texts = []
        for _ in range(16):
            size = min(1 + int(draw.expovariate(1 / 40)), 400)
            texts.append(["".join(draw.choices(words, weights, k=count)) for count in (1, size)])
        loss = token_loss(policy, pack([renderer.answer(*text) for text in texts]))
        adam.zero_grad()
        loss.total.backward()
        adam.step()
    policy.save(target)


def _lexicon(count: int) -> list[str]:
    """Pronounceable words of two or three syllables, in an order that the seed gives."""
    syllables = ["".join(pair) for pair in itertools.product(_CONSONANTS, _VOWELS)]
    two = ["".join(pair) for pair in itertools.product(syllables, repeat=2)]
    three = ["".join(pair) for pair in zip(two, itertools.cycle(syllables), strict=False)]
    everything = two + three
    random.Random(SEED).shuffle(everything)
    return everything[:count]
