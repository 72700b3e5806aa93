"""What a request may bring: how deep its JSON goes is told apart from the brackets that people write."""

from __future__ import annotations

import json

from tutelage.web._body import deepest


def test_brackets_inside_texts_do_not_count_as_depth():
    assert deepest(json.dumps({"edit": "[[{{" * 100 + '"\\'}).encode()) == 1
    assert deepest(b'{"a": [1, {"b": "]]\\"["}]}') == 3
    assert deepest(b"[" * 40 + b"]" * 40) == 40
    assert deepest(b'["[[[') == 1, "a text without an end"
