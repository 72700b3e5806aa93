"""Memory in large pages is memory like any other: zeros, ours alone, in the size that was asked for."""

from __future__ import annotations

import gc
import mmap

import pytest
import torch

from tutelage.ops import large

_PAGE = 2 << 20


@pytest.mark.parametrize("words", [5, _PAGE // 4 - 1, _PAGE // 4, _PAGE + 17])
def test_room_is_zeros_of_the_size_asked_for(words):
    room = large.room(words)
    assert room.dtype == torch.int32 and room.shape == (words,) and not room.any()
    if words * 4 >= _PAGE and hasattr(mmap, "MADV_HUGEPAGE"):
        assert room.data_ptr() % _PAGE == 0, "it begins where a large page can"


def test_a_part_of_it_keeps_it_alive_and_two_rooms_are_two():
    one, other = large.room(_PAGE), large.room(_PAGE)
    one.fill_(1)
    part = one[-3:]
    del one
    gc.collect()
    assert part.tolist() == [1, 1, 1] and not other.any()


def test_a_kernel_without_large_pages_gives_small_ones(monkeypatch):
    class Refusing(mmap.mmap):
        def madvise(self, *_):
            raise OSError("no large pages here")

    monkeypatch.setattr(large.mmap, "mmap", Refusing)
    assert not large.room(_PAGE).any()
