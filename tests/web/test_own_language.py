"""What goes wrong is said in the reader's language: on the rating page, on error pages, and of a file's rows."""

from __future__ import annotations

import re
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from rating_browser import Room, ready
from rating_room import HOST, OPEN, SECRET, Enter
from tutelage.data import formats
from tutelage.errors import DataError
from tutelage.labelers import _desk
from tutelage.store.answers import read_answers
from tutelage.store.projects import Projects, ProjectSettings
from tutelage.store.store import Store
from tutelage.web._file_words import in_language
from tutelage.web._settings import Limits, Settings
from tutelage.web.app import create_app

IN = "/admin/projects/default"
ENGLISH = re.compile(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}")
FILES = [  # bytes of a file, what the Chinese page says of it, what the English one does
    (b'{"prompt": 3}\n', "缺少列“completion”", "the column 'completion' is missing"),
    (b"", "文件为空", "the file is empty"),
    (b'{"prompt": "p", "completion": "c", "seed": 1.5}\n', "应为整数", "not a whole number"),
    (b'{"prompt": "p", "completion": "c", "finish": "x"}\n', "应为 'stop' 或 'length'", "not 'stop' or 'length'"),
    (b'{"a": \n', "该行不完整", "the row ends in the middle"),
    (b'{"a": tru}\n', "'tru' 不是 JSON 值", "'tru' is not a JSON value"),
    (b"{'a': 1}\n", "键须用双引号", "keys need double quotes"),
    (b'{"a": "b" "c": 1}\n', "缺少逗号或 '}'", "a comma or '}' is missing"),
    (b'{"a": "b\n', "此处开始的字符串没有结束", "a string that starts here never ends"),
    (b"[1, 2]\n", "该行是数组，而不是对象", "the line is an array, not an object"),
    (b"\xff\xfea\x00", "文件是 UTF-16，而不是 JSON Lines", "the file is UTF-16, not JSON lines"),
    (b'{"a": "\xff"}\n', "字节 0xff 不是 UTF-8 文本", "the byte 0xff is not UTF-8 text"),
    (b'{"prompt": NaN, "completion": "c"}\n', "JSON 没有 NaN", "JSON has no NaN"),
]


@pytest.fixture
def app(store: Store) -> Starlette:
    return create_app(store, Settings(hosts=(HOST,), secret=SECRET, limits=OPEN, questions=_desk.questions_of))


PROMPTS = [  # the same of a file of prompts, which other readers read
    (b'{"prompt": 3}\n', "“prompt”是数字，而不是文本或消息", "'prompt' is a number, not a string or messages"),
    (b'{"prompt": ""}\n', "“prompt”为空", "'prompt' is empty"),
    (b'{"prompt": [{"role": "chef", "content": "x"}]}\n', "角色 'chef' 不在", "the role 'chef' is none of"),
    (b'{"prompt": [{"role": "user"}]}\n', "应为 role 和 content", "not role and content"),
    (b'{"prompt": [{"role": "user", "content": ""}]}\n', "一条 user 消息为空", "a user message is empty"),
    (b'{"prompt": [5]}\n', "一条消息是数字", "a message is a number"),
]


@pytest.mark.parametrize(("content", "chinese", "english"), PROMPTS)
def test_what_is_wrong_with_prompts_is_said_in_the_readers_language(
    content: bytes, chinese: str, english: str, tmp_path: Any
):
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        formats.load(path, "prompt")
    told = str(caught.value)
    own = in_language(told, "zh")
    assert english in told and chinese in own and not ENGLISH.search(own.replace(str(path), "")), own


@pytest.mark.parametrize(("content", "chinese", "english"), FILES)
def test_what_is_wrong_with_a_file_is_said_in_the_readers_language(
    content: bytes, chinese: str, english: str, store: Store, tmp_path: Any
):
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_answers([path])
    told = str(caught.value).replace(str(path), "x.jsonl")
    assert english in told and in_language(told, "en") == told
    own = in_language(told, "zh")
    assert chinese in own and "x.jsonl" in own and not ENGLISH.search(own), own


def test_the_import_page_says_it_so(store: Store, enter: Enter):
    Projects(store.database).change("default", ProjectSettings(), actor="test")
    admin = enter("Dana", role="admin")
    assert "缺少列" in refused_file(admin, "zh") and "is missing" in refused_file(admin, "en")


def refused_file(admin: TestClient, language: str) -> str:
    admin.post("/api/v1/language", json={"language": language})
    sent = {"kind": "pair", "overlap": "2", "per_prompt": "2", "size": "4"}
    reply = admin.post(f"{IN}/questions", data=sent, files={"file": ("x.jsonl", b'{"completion": "c"}\n')})
    assert reply.status_code == 400
    return reply.text


def test_a_page_that_is_sent_too_much_says_how_much_is_taken_in_the_readers_language(enter: Enter):
    client = enter()
    for language, most in (("en", "At most 1 MB."), ("zh", "最多 1 MB。")):
        client.post("/language", data={"language": language, "back": "/"})
        reply = client.post("/theme", content=b"x" * (Limits().body_bytes + 1))
        assert reply.status_code == 413 and most in reply.text and ("bytes at most" in reply.text) is False
    told = client.post("/api/v1/judgements", content=b"x" * (Limits().body_bytes + 1)).json()["error"]
    assert told == {"what": "this is too large", "wanted": "1000000 bytes at most", "fix": ""}


@pytest.mark.parametrize("status", [400, 404, 408, 413, 421, 429, 500, 503])
def test_the_rating_page_says_why_there_is_no_task_in_the_readers_language(status: int, room: Room, chrome: Any):
    room.project = f"why {status}"
    room.ask("pair", ["One.", "Two."], copies=1)
    page = room.enter(chrome, locale="zh-CN")
    ready(page)
    told = {"error": {"what": "the server has this to say", "wanted": "", "fix": "try that"}}
    page.route("**/api/v1/tasks/next", lambda route: route.fulfill(status=status, json=told))
    page.reload()
    page.wait_for_selector(".problem")
    said = page.inner_text(".problem")
    assert re.search("[\u4e00-\u9fff]", said) and not ENGLISH.search(said), said
    page.click("[data-test=language]")
    said = page.inner_text(".problem")
    assert not re.search("[\u4e00-\u9fff]", said) and "this to say" not in said, said
