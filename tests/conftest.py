"""Fixtures for every room: tiny real models and tokenizers, made once per session, and the optional shared data."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Set before anything imports torch or tokenizers, and inherited by the subprocesses that tests start:
# one thread gives the same bits on every machine and leaves the other core to the next worker; no hub is ever asked.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Started in the background by a shell, this process ignores Ctrl-C, and so would every process a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPO = Path(__file__).resolve().parent.parent
VOCABULARY = 384
POSITIONS = 128
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gpt2", "mistral", "gemma", "deepseek_v3")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LINES = [
    "The mayor of Norwick opened a new bridge on Monday. It cost three million.",
    "Summarise the news in one sentence. Who did what, where, when and how much?",
    "A fire closed the market in Eastford on Friday; nobody was hurt.",
    "周一，北城市长为新桥剪彩，耗资三百万元。",
    "请用一句话概括这则新闻：谁、什么事、何地、何时、多少？",
    "周五，东港市场失火，无人受伤。",
]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and oracles beside the checkout (`TUTELAGE_SHARED` says where else it lies).

    A test that asks for it is skipped, with the reason, where there is none.
    """
    folder = Path(os.environ.get("TUTELAGE_SHARED") or REPO.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set TUTELAGE_SHARED to the folder that holds data/ and oracles/")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE tokenizer (VOCABULARY entries at most, pad ≠ eos, no chat template), saved as a folder."""
    folder = tmp_path_factory.mktemp("tokenizer") / "tiny"
    _train_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: Path) -> Callable[[str], Path]:
    """`model_folder("llama")` → a randomly initialised causal LM with its tokenizer, saved by stock transformers.

    One folder per name of ARCHITECTURES and session; do not write into it.
    """
    made: dict[str, Path] = {}

    def folder_of(architecture: str) -> Path:
        if architecture not in made:
            made[architecture] = _save_model(architecture, tmp_path_factory.mktemp("model"), tiny_tokenizer)
        return made[architecture]

    return folder_of


@pytest.fixture(scope="session")
def tiny_model(model_folder: Callable[[str], Path]) -> Path:
    """A tiny Llama with random weights: 2 layers of 32, POSITIONS positions, tied embeddings."""
    return model_folder("llama")


@pytest.fixture(scope="session")
def tiny_chat_model(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """The tiny Llama with a ChatML template."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("model") / "tiny-chat"
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def postgres_server_url() -> Iterator[str]:
    """A PostgreSQL server of this process's own, started when the first test asks for it."""
    import postgres_server

    with postgres_server.server() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server_url: str) -> Iterator[str]:
    """A new empty database on it."""
    import postgres_server

    with postgres_server.database(postgres_server_url) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: the test runs on SQLite and again on PostgreSQL."""
    return str(tmp_path / "ratings.db") if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def _train_tokenizer():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "</s>", "<s>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(_LINES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", bos_token="<s>", model_max_length=POSITIONS
    )


def _save_model(architecture: str, parent: Path, tokenizer_folder: Path) -> Path:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = parent / f"tiny-{architecture}"
    AutoTokenizer.from_pretrained(tokenizer_folder).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(_config(architecture)).eval().save_pretrained(folder)
    return folder


def _config(architecture: str):
    from transformers import AutoConfig

    sizes: dict[str, object] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": POSITIONS,
    }
    if architecture == "gpt2":
        sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": POSITIONS}
    if architecture == "deepseek_v3":  # latent attention: values are narrower than keys; every layer dense
        sizes |= {"num_key_value_heads": 4, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16}
        sizes |= {"q_lora_rank": 16, "kv_lora_rank": 16, "first_k_dense_replace": 2}
    rows = VOCABULARY + 16 * (architecture == "qwen2")  # whose tokenizer adds a token of its own
    tokens = {"vocab_size": rows, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2}
    return AutoConfig.for_model(architecture, **tokens, **sizes, tie_word_embeddings=True)
