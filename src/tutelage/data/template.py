"""Text ↔ tokens: renders prompts, answers and conversations, and says which tokens are learned (no torch).

    str prompt       [bos] prompt · completion eos                       no template
    messages prompt  chat template(prompt, generation prompt) · answer turn-end
                                                              └ mask = True ┘

The answer's tokens never change the prompt's: if tokenising both together would merge across the border, the two are
tokenised apart and joined (AReaL#1427). Exactly one BOS (reward-bench#164). The stop token is learned (trl#1623).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from tutelage.errors import DataError, UsageError
from tutelage.types import Message, Text

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""For tokenizers without a chat template. Where `<|user|>` and its like are no tokens of the vocabulary, they are spelt
out as text. `fix_tokenizer` stores it in the tokenizer, so that what is exported is prompted as it was trained."""

_PAD_NAMES = ("<pad>", "<|pad|>", "[PAD]", "<PAD>", "<|finetune_right_pad_id|>", "<|vision_pad|>", "<|fim_pad|>")
_SPARE_MARKS = ("reserved", "unused", "extra_", "placeholder")
_CACHED_TEXTS = 4096


@dataclass(frozen=True)
class Encoded:
    """Token ids and which of them are learned.

    Example:
        >>> Encoded([1, 306, 29, 2], [False, False, True, True])
    """

    tokens: list[int]
    mask: list[bool]
    """True = a token of an answer, its stop token included; never True for the first token"""

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def learned(self) -> int:
        """How many tokens are learned."""
        return sum(self.mask)


class Renderer:
    """Renders for one tokenizer; refuses, never cuts, what is longer than `max_length` tokens (0 = no limit).

    Example:
        >>> renderer = Renderer(load_tokenizer("my-model"), max_length=1024)
        >>> renderer.answer((Message("user", "Hello"),), "Hi!")
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int = 0) -> None:
        self.tokenizer = tokenizer
        self.max_length = max_length
        self._encode = lru_cache(maxsize=_CACHED_TEXTS)(self._encode_now)

    def prompt(self, content: Text) -> list[int]:
        """Token ids of a prompt, ready to be continued by the model's answer.

        Raises:
            DataError: too long, or refused by the chat template.
        """
        tokens = self._within(self._encode(self.prompt_text(content))) or self._start
        self._refuse_second_start(tokens)
        return list(tokens)

    def answer(self, prompt: Text, completion: Text, *, may_be_empty: bool = False) -> Encoded:
        """A prompt and its answer; every assistant turn of the answer is learned, its stop token included.

        Args:
            may_be_empty: an answer without words, which a model may give and no data should hold, is its stop token.

        Raises:
            DataError: too long, empty, or refused by the chat template; a message list after a string prompt.
        """
        if isinstance(prompt, str):
            if not isinstance(completion, str):
                raise DataError(
                    "the prompt is a string but the completion is a list of messages",
                    fix="give both as strings or both as messages",
                )
            pieces = [(self.prompt_text(prompt), False), (completion, True)]
            return self._finish(pieces, self.eos_id, may_be_empty)
        turns = (Message("assistant", completion),) if isinstance(completion, str) else completion
        return self.conversation((*prompt, *turns), first_learned=len(prompt), may_be_empty=may_be_empty)

    def conversation(
        self, messages: Sequence[Message], first_learned: int = 0, *, may_be_empty: bool = False
    ) -> Encoded:
        """All messages; the assistant turns from index `first_learned` on are learned, their turn ends included.

        Raises:
            DataError: no assistant turn to learn, too long, or refused by the chat template.
        """
        learned = [i for i, m in enumerate(messages) if m.role == "assistant" and i >= first_learned]
        if not learned:
            raise DataError("there is no assistant turn to learn", fix="end the messages with an assistant turn")
        done, pieces = "", list[tuple[str, bool]]()
        for place, index in enumerate(learned):
            before = self._render(messages[:index], answer_next=True)
            after = self._render(messages[: index + 1], answer_next=False)
            if before.startswith(done):
                context = before[len(done) :]
            else:
                context = self._context_after(messages, learned[place - 1], before)
            turn = after[len(before) :] if after.startswith(before) else messages[index].content
            if not may_be_empty and _even(messages[index].content) not in _even(turn):
                raise _rewritten(messages[index].content, turn)
            turn, tail = self._cut_after_stop(turn)
            pieces += [(context, False), (turn, True)]
            done = after.removesuffix(tail) if tail else after
        return self._finish(pieces, self.turn_end, may_be_empty)

    def document(self, text: str) -> list[int]:
        """Token ids of one document of a corpus: BOS where the tokenizer adds one, the text, the end token."""
        return [*self._encode_now(self.prompt_text(text)), self.eos_id]

    def prompt_text(self, content: Text) -> str:
        """The string that is tokenised for a prompt."""
        if isinstance(content, str):
            return content if self._bos_text and content.startswith(self._bos_text) else self._bos_text + content
        return self._render(content, answer_next=True)

    @cached_property
    def eos_id(self) -> int:
        """The tokenizer's end token."""
        return _require_eos(self.tokenizer)

    @cached_property
    def turn_end(self) -> int:
        """The token that ends an assistant turn in the chat template: often, not always, `eos_id`."""
        answer = "bqz"
        text = self._render([Message("user", "a"), Message("assistant", answer)], answer_next=False)
        special = set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)
        ends = [token for token in self._encode_now(text.rpartition(answer)[2]) if token in special]
        return int(ends[0]) if ends else self.eos_id

    @cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """The tokens that end an answer: the end token and, if it is another one, the template's turn end."""
        return tuple(dict.fromkeys((self.turn_end, self.eos_id)))

    @cached_property
    def _bos_text(self) -> str:
        """BOS as text if the tokenizer would add one by itself, else nothing."""
        bos = self.tokenizer.bos_token_id
        adds = bos is not None and list(self.tokenizer("a")["input_ids"])[:1] == [bos]
        return str(self.tokenizer.bos_token) if adds else ""

    @cached_property
    def _start(self) -> tuple[int]:
        """What stands before an answer to an empty prompt, since nothing can be learned without a token before it."""
        bos: Any = self.tokenizer.bos_token_id
        return (self.eos_id if bos is None else int(bos),)

    @cached_property
    def _template(self) -> str:
        template: Any = self.tokenizer.chat_template
        if isinstance(template, dict):  # several, by name
            template = template.get("default")
        return template if isinstance(template, str) else DEFAULT_TEMPLATE

    def _render(self, messages: Sequence[Message], *, answer_next: bool) -> str:
        from jinja2 import TemplateError

        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            text = str(
                self.tokenizer.apply_chat_template(
                    turns, chat_template=self._template, tokenize=False, add_generation_prompt=answer_next
                )
            )
        except (TemplateError, ValueError) as error:
            roles = ", ".join(message.role for message in messages)
            raise DataError(
                f"the tokenizer's chat template refuses the roles [{roles}]: {error}",
                fix="change the messages to what the template allows, or give the tokenizer another chat_template",
            ) from error
        shown = _even(text)
        for message in messages:  # earlier answers may lose their thoughts (Qwen3): they are read, not learned
            if message.role in ("system", "user") and _even(message.content) not in shown:
                raise DataError(
                    f"the chat template leaves out or changes a {message.role} message: "
                    f"{message.content[:60]!r} is not in what the model would read",
                    fix="mend the tokenizer's chat_template, or put that text into another message",
                )
        return text

    def _encode_now(self, text: str) -> tuple[int, ...]:
        ids: Any = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return tuple(ids)

    def _encode_after(self, text: str) -> tuple[int, ...]:
        """The ids of `text` where it is not the start of a string (some tokenizers put a space before a start)."""
        anchor, both = self._encode("\n"), self._encode_now("\n" + text)
        return both[len(anchor) :] if both[: len(anchor)] == anchor else self._encode_now(text)

    def _cut_after_stop(self, turn: str) -> tuple[str, str]:
        """An assistant turn up to and with its last stop token, and what the template writes after it."""
        for stop in self.stop_ids:
            word = str(self.tokenizer.convert_ids_to_tokens(stop))
            head, found, tail = turn.rpartition(word)
            if found:
                return head + found, tail
        return turn, ""

    def _context_after(self, messages: Sequence[Message], previous: int, before: str) -> str:
        """What stands between two answers under a template that rewrites earlier turns (Qwen3 drops empty thoughts)."""
        content = messages[previous].content.strip()
        found = before.find(content, len(self._render(messages[:previous], answer_next=False)))
        if found < 0:
            raise DataError(
                "the chat template changes earlier assistant turns, so they cannot be learned in one sequence",
                fix="split the conversation into one row per assistant turn (prompt = everything before it)",
            )
        context = before[found + len(content) :]
        return context.removeprefix(str(self.tokenizer.convert_ids_to_tokens(self.turn_end)))

    def _finish(self, pieces: Sequence[tuple[str, bool]], stop: int, may_be_empty: bool) -> Encoded:
        """Join pieces of text so that the ids of each continue, and never change, the ids before it."""
        tokens, mask, text = list[int](), list[bool](), ""
        for piece, learned in pieces:
            text += piece
            whole = self._encode(text)
            new = whole[len(tokens) :] if list(whole[: len(tokens)]) == tokens else self._encode_after(piece)
            if learned:
                if not may_be_empty and set(new) <= set(self.stop_ids):
                    raise DataError("the completion is empty", fix="remove the row or write an answer")
                new = new if new and new[-1] in self.stop_ids else (*new, stop)
            if not tokens and not new:
                new = self._start
            tokens += new
            mask += [learned] * len(new)
        self._within(tokens)
        self._refuse_second_start(tokens)
        return Encoded(tokens, mask)

    def _refuse_second_start(self, tokens: Sequence[int]) -> None:
        bos = self.tokenizer.bos_token_id
        if bos is not None and bos not in self.stop_ids and list(tokens[:2]) == [bos, bos]:
            raise DataError(
                f"it would begin with {self.tokenizer.bos_token!r} twice, which no model has ever read",
                fix="remove it from the text, or from the tokenizer's chat_template: exactly one is written by itself",
            )

    def _within(self, tokens: Sequence[int]) -> Sequence[int]:
        if self.max_length and len(tokens) > self.max_length:
            raise DataError(
                f"{len(tokens)} tokens are more than the limit of {self.max_length}",
                fix="raise --max-length if the model allows it, or shorten or remove the row",
            )
        return tokens


def _even(text: str) -> str:
    """For comparing: templates trim, and may break lines, but must not change words."""
    return " ".join(text.split())


def _rewritten(content: str, turn: str) -> DataError:
    """The error for a template that drops (Qwen3, DeepSeek-R1: thoughts), cuts or rewrites what is to be learned."""
    became = f"became {' '.join(turn.split())[:60]!r}" if turn.strip() else "was left out"
    return DataError(
        f"the chat template changes the answer: {' '.join(content.split())[:60]!r} {became}",
        fix="what is learned must be what was written: mend the tokenizer's chat_template (or remove from the row what "
        "it drops, such as <think>…</think>)",
    )


def chunks(documents: Iterable[Sequence[int]], length: int, *, join: bool = True) -> list[Encoded]:
    """Cut documents into sequences of at most `length` tokens; every token but the very first is learned once.

    A sequence begins with the last token of the one before, because its own first token cannot be learned.

    Args:
        join: run one document on into the next, so that every sequence but the last is full; else each document
            starts its own sequence.
    """
    if length < 2:
        raise UsageError(f"max-length is {length}; a training sequence has at least 2 tokens")
    if join:
        documents = [[token for document in documents for token in document]]
    pieces = (
        list(document[start : start + length])
        for document in documents
        for start in range(0, max(1, len(document) - 1), length - 1)
    )
    return [Encoded(piece, [False] + [True] * (len(piece) - 1)) for piece in pieces if len(piece) > 1]


def fix_tokenizer(tokenizer: PreTrainedTokenizerBase, *, rows: int = 0, grow: bool = False) -> list[str]:
    """Make a tokenizer safe to train with, in place: an end token, another pad token, a chat template.

    With pad = eos the end of an answer is mistaken for padding and the model never learns to stop.

    Args:
        rows: how many rows the model's embedding has; spare ones may take a new pad token.
        grow: a pad token may be added even beyond them; the caller then resizes the embedding to `len(tokenizer)`.

    Returns:
        What was changed, one sentence each.

    Raises:
        UsageError: no end token; no token that could be the pad token.
    """
    changed = list[str]()
    eos = _require_eos(tokenizer)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = DEFAULT_TEMPLATE
        changed.append("the tokenizer had no chat template: the default one (docs/formats.md) is used")
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == eos:
        old = "missing" if tokenizer.pad_token_id is None else f"the end token ({tokenizer.eos_token})"
        name = _find_pad(tokenizer)
        if name is None and (grow or len(tokenizer) < rows):
            name = "<|pad|>"
        if name is None:
            raise UsageError(
                f"the pad token is {old}, and no other token of the vocabulary is free to be it",
                where=str(tokenizer.name_or_path) or None,
                fix="add one and save both again: tokenizer.add_special_tokens({'pad_token': '<|pad|>'}); "
                "model.resize_token_embeddings(len(tokenizer))",
            )
        tokenizer.add_special_tokens({"pad_token": name})
        changed.append(f"the pad token was {old}: {name} is used instead")
    return changed


def _require_eos(tokenizer: PreTrainedTokenizerBase) -> int:
    eos: Any = tokenizer.eos_token_id
    if eos is None:
        raise UsageError(
            "the tokenizer has no end token, so an answer could never stop",
            where=str(tokenizer.name_or_path) or None,
            fix="set one and save it again: tokenizer.eos_token = '</s>' (a token of its vocabulary)",
        )
    return int(eos)


def _find_pad(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A token that ordinary text never becomes: one named pad, a reserved one, or the unknown token."""
    taken = {str(tokenizer.eos_token), str(tokenizer.bos_token)}
    special = [str(token) for token in tokenizer.added_tokens_decoder.values()]
    spare = [name for name in special if any(mark in name.lower() for mark in _SPARE_MARKS)]
    vocabulary = tokenizer.get_vocab()
    named = [name for name in _PAD_NAMES if name in vocabulary]
    unknown = [] if tokenizer.unk_token is None else [str(tokenizer.unk_token)]
    for name in [*named, *spare, *unknown]:
        if name not in taken and name not in str(tokenizer.chat_template):
            return name
    return None
