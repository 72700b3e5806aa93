"""A vocabulary of whole words, small enough for an agent without a language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from tutelage.errors import UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

STOP, PAD = "<stop>", "<pad>"


def word_tokenizer(words: Sequence[str], texts: Iterable[str] = ()) -> PreTrainedTokenizerBase:
    """Token 0 ends an answer, token i is `words[i − 1]`, then come the other words of `texts`, and last the padding.

    Words are what stands between spaces, in any script.

    Raises:
        UsageError: a word is empty, has a space in it, stands there twice, or is one of the two marks.
    """
    for place, word in enumerate(words):
        if word.split() != [word] or word in words[:place] or word in (STOP, PAD):
            raise UsageError(
                f"words[{place}] = {word!r} cannot be a token",
                fix=f"single words, each once, without spaces, other than {STOP} and {PAD}",
            )
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    every = dict.fromkeys([STOP, *words, *(word for text in texts for word in text.split()), PAD])
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(every)}, unk_token=PAD))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token=STOP, pad_token=PAD, clean_up_tokenization_spaces=False
    )
