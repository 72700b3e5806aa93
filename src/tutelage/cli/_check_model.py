"""What `tutelage doctor --model` looks at: does the tokenizer end turns with a token that generation stops at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tutelage.cli._checks import Finding
from tutelage.errors import TutelageError
from tutelage.types import Message

_READ_GIB = 16


def check_model(path: str) -> list[Finding]:
    """Findings about a model folder or hub id, without building the model."""
    from tutelage.models.load import load_tokenizer

    folder = Path(path)
    try:
        mended = load_tokenizer(path)
    except TutelageError as error:
        return [Finding("model", error.what, "problem", error.fix or "", error.exit_code)]
    from transformers import AutoTokenizer

    raw: Any = AutoTokenizer.from_pretrained(path)
    found = [_ends(raw), _pad(raw, mended), _template(raw), *_said(mended)]
    if folder.is_dir():
        found += [*_weights(folder), *_sizes(folder, raw, mended)]
    return found


def _ends(raw: Any) -> Finding:
    if raw.eos_token_id is None:
        return Finding("stop token", "none", "problem", "set eos_token in tokenizer_config.json", 65)
    return Finding("stop token", f"{raw.eos_token!r} ({raw.eos_token_id})")


def _pad(raw: Any, mended: Any) -> Finding:
    if raw.pad_token_id is not None and raw.pad_token_id != raw.eos_token_id:
        return Finding("pad token", f"{raw.pad_token!r} ({raw.pad_token_id})")
    was = "none" if raw.pad_token_id is None else "the stop token itself"
    return Finding("pad token", was, "note", f"tutelage uses {mended.pad_token!r} instead and saves it with the model")


def _template(raw: Any) -> Finding:
    from tutelage.data.template import Renderer

    if not raw.chat_template:
        return Finding("chat template", "none", "note", "the documented default is used and saved with the model")
    renderer = Renderer(raw)
    end = renderer.turn_end
    shown = raw.convert_ids_to_tokens(end)
    try:
        text = renderer.prompt_text((Message("user", "a"), Message("assistant", "bqz"), Message("user", "c")))
    except TutelageError as error:
        return Finding("chat template", error.what, "note", error.fix or "")
    if shown not in text.rpartition("bqz")[2]:
        found = f"does not end answers with a token of its own: {shown!r} is written after them"
        return Finding("chat template", found, "note", "train and sample with tutelage alike; see docs/checks.md")
    if end == raw.eos_token_id:
        return Finding("chat template", "ends turns with the stop token")
    return Finding(
        "chat template", f"ends turns with {shown!r}", "note", "both are stop tokens here and in what is exported"
    )


def _said(tokenizer: Any) -> list[Finding]:
    """Whether the template says what it is given: each message whole, one beginning, the thoughts of an answer."""
    from tutelage.data.template import Renderer

    renderer = Renderer(tokenizer)
    found = list[Finding]()
    for name, answer in (("answers", "fine thanks"), ("thoughts", "<think>\nwell now\n</think>\n\nfine thanks")):
        try:
            renderer.answer((Message("user", "how goes it"),), (Message("assistant", answer),))
        except TutelageError as error:
            state = "problem" if name == "answers" else "note"
            found.append(Finding(f"template: {name}", error.what, state, error.fix or "", error.exit_code))
    try:
        renderer.prompt((Message("system", "be kind"), Message("user", "how goes it")))
    except TutelageError as error:
        found.append(Finding("template: system", error.what, "note", "put system texts into the first user message"))
    return found or [Finding("template: messages", "every message stands in it whole, with one beginning")]


def _weights(folder: Path) -> list[Finding]:
    files = sorted(folder.glob("*.safetensors"))
    if files:
        size = sum(file.stat().st_size for file in files)
        return [Finding("weights", f"{size / 2**30:.2f} GiB of safetensors"), _finite(files, size)]
    if any(folder.glob("*.bin")):
        fix = "convert them to safetensors: pickled weights can run code and are not loaded"
        return [Finding("weights", "pickled (*.bin) only", "problem", fix, 65)]
    return [Finding("weights", "none in this folder", "problem", "name the folder that holds model.safetensors", 66)]


def _finite(files: Sequence[Path], size: int) -> Finding:
    """Read tensor by tensor, so that no more than one is in memory."""
    from safetensors import SafetensorError, safe_open

    if size > _READ_GIB * 2**30:
        return Finding("weights: finite", f"not read: more than {_READ_GIB} GiB", "note", "looked at when it is loaded")
    for file in files:
        try:
            with safe_open(str(file), framework="pt") as tensors:
                bad = next((name for name in tensors.keys() if not tensors.get_tensor(name).isfinite().all()), None)  # noqa: SIM118
        except SafetensorError as error:
            return Finding("weights: finite", f"{file.name}: {error}", "problem", "copy or download it again", 65)
        if bad:
            fix = "the file is damaged, or training had diverged when it was saved: take an earlier checkpoint"
            return Finding("weights: finite", f"{file.name}: {bad} holds NaN or infinity", "problem", fix, 65)
    return Finding("weights: finite", "all")


def _sizes(folder: Path, raw: Any, mended: Any) -> list[Finding]:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        return []
    config: Any = AutoConfig.from_pretrained(folder).get_text_config()
    longest = getattr(config, "max_position_embeddings", None)
    found = [Finding("longest sequence", f"{longest} tokens")] if longest else []
    asked = {name: rate for name, rate in config.to_dict().items() if _dropout(name, rate)}
    if asked:
        shown = ", ".join(f"{name} {rate:g}" for name, rate in asked.items())
        found.append(Finding("dropout", shown, "note", "tutelage switches it off: the ratio must begin at 1"))
    shown = f"{len(raw)} tokens, {config.vocab_size} embedded"
    if len(raw) > config.vocab_size:
        fix = "use the tokenizer that the model was trained with"
        return [*found, Finding("vocabulary", f"{shown}: some tokens have no row", "problem", fix, 65)]
    if len(mended) > config.vocab_size:
        return [*found, Finding("vocabulary", shown, "note", "the embedding grows by a row for the pad token")]
    return [*found, Finding("vocabulary", shown)]


def _dropout(name: str, rate: Any) -> bool:
    return ("dropout" in name or name.endswith("pdrop")) and isinstance(rate, float) and rate > 0
