"""What `tutelage doctor --model` looks at: does the tokenizer end turns with a token that generation stops at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tutelage.cli._checks import Finding
from tutelage.errors import TutelageError


def check_model(path: str) -> list[Finding]:
    """Findings about a model folder or hub id, without loading its weights."""
    from tutelage.models.load import load_tokenizer

    folder = Path(path)
    try:
        mended = load_tokenizer(path)
    except TutelageError as error:
        return [Finding("model", error.what, "problem", error.fix or "", error.exit_code)]
    from transformers import AutoTokenizer

    raw: Any = AutoTokenizer.from_pretrained(path)
    found = [_ends(raw), _pad(raw, mended), _template(raw)]
    if folder.is_dir():
        found.append(_weights(folder))
        found += _sizes(folder, mended)
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
    end = Renderer(raw).turn_end
    if end == raw.eos_token_id:
        return Finding("chat template", "ends turns with the stop token")
    shown = raw.convert_ids_to_tokens(end)
    return Finding(
        "chat template", f"ends turns with {shown!r}", "note", "both are stop tokens here and in what is exported"
    )


def _weights(folder: Path) -> Finding:
    if any(folder.glob("*.safetensors")):
        size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        return Finding("weights", f"{size / 2**30:.2f} GiB of safetensors")
    if any(folder.glob("*.bin")):
        fix = "convert them to safetensors: pickled weights can run code and are not loaded"
        return Finding("weights", "pickled (*.bin) only", "problem", fix, 65)
    return Finding("weights", "none in this folder", "problem", "name the folder that holds model.safetensors", 66)


def _sizes(folder: Path, mended: Any) -> list[Finding]:
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        return []
    config: Any = AutoConfig.from_pretrained(folder)
    longest = getattr(config, "max_position_embeddings", None)
    found = [Finding("longest sequence", f"{longest} tokens")] if longest else []
    if len(mended) > config.vocab_size:
        shown = f"{len(mended)} tokens, the model embeds {config.vocab_size}"
        return [*found, Finding("vocabulary", shown, "note", "the embedding grows by the missing rows")]
    return [*found, Finding("vocabulary", f"{len(mended)} tokens, {config.vocab_size} embedded")]
