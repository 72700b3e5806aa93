"""A scorer behind an address, against a real server: what goes over the wire, and every way in which it can fail."""

from __future__ import annotations

import math
import socket
import threading
import time
from typing import Any

import pytest
import torch

from rewards.local_server import serving
from tutelage._http import Service
from tutelage.errors import ServiceError, UsageError
from tutelage.rewards.remote import Remote
from tutelage.types import Message, Prompt, Sample


def samples(*texts: str, prompt: Any = "Say it.") -> list[Sample]:
    return [Sample(f"s{n}", Prompt(f"p{n}", prompt, {"wanted": n}), text) for n, text in enumerate(texts)]


def lengths(body: Any, before: int) -> tuple[int, Any]:
    scores = [len(row["completion"]) / 10 for row in body["samples"]]
    return 200, {"scores": scores, "parts": {"half": [score / 2 for score in scores]}}


def remote(url: str, **more: Any) -> Remote:
    own = {key: more.pop(key) for key in ("batch", "meta") if key in more}
    return Remote(Service(url, backoff=0.001, **more), **own)


def test_answers_go_out_in_batches_and_come_back_in_their_order_with_parts() -> None:
    asked = samples("a", "bb", "", "周一", "e" * 40)
    with serving(lengths) as server:
        found = remote(server.url, batch=2).score(asked)
        assert [len(body["samples"]) for body in server.bodies] == [2, 2, 1]
    torch.testing.assert_close(found.value, torch.tensor([0.1, 0.2, 0.0, 0.2, 4.0]))
    torch.testing.assert_close(found.parts["half"], found.value / 2)
    assert server.bodies[0]["samples"][0] == {"id": "s0", "prompt": "Say it.", "completion": "a", "finish": "stop"}


def test_messages_meta_and_the_key_are_sent_only_where_they_belong() -> None:
    asked = samples("a", prompt=(Message("user", "你好"),))
    with serving(lengths) as server:
        remote(server.url, meta=True, key="secret").score(asked)
        remote(server.url).score(asked)
        assert remote(server.url).score([]).value.shape == (0,)
    row, plain = (body["samples"][0] for body in server.bodies)
    assert (
        row["prompt"] == [{"role": "user", "content": "你好"}] and row["meta"] == {"wanted": 0} and "meta" not in plain
    )
    assert server.headers[0]["Authorization"] == "Bearer secret" and "Authorization" not in server.headers[1]
    assert "secret" not in repr(Service(server.url, key="secret"))


@pytest.mark.parametrize("code", [500, 503, 429])
def test_what_may_pass_is_tried_again_with_longer_and_longer_pauses(code: int) -> None:
    pauses: list[float] = []

    def busy(body: Any, before: int) -> tuple[int, Any]:
        return (code, {"error": "busy"}) if before < 3 else lengths(body, before)

    with serving(busy) as server:
        service = Service(server.url, backoff=0.5, sleep=pauses.append)
        assert Remote(service).score(samples("a")).value.tolist() == pytest.approx([0.1])
    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, {"error": "out of memory"}), r"HTTP 500.*out of memory"),
        ((404, {"error": "no such path"}), r"HTTP 404"),
        ((302, {}), r"HTTP 302"),
        ((200, b"<html>hello</html>"), "not JSON"),
        ((200, [1.0, 2.0]), "and not"),
        ((200, {"score": [1.0, 2.0]}), "and not"),
        ((200, {"scores": [1.0]}), "1 values for 2 answers"),
        ((200, {"scores": {"s0": 1}}), "for 2 answers"),
        ((200, {"scores": [1.0, math.nan]}), "nan for sample s1"),
        ((200, {"scores": [1.0, math.inf]}), "inf for sample s1"),
        ((200, {"scores": [1.0, None]}), "None for sample s1"),
        ((200, {"scores": [1.0, "0.5"]}), "'0.5' for sample s1"),
        ((200, {"scores": [True, 1.0]}), "True for sample s0"),
        ((200, {"scores": [1.0, 1e300]}), "1e\\+300 for sample s1"),
        ((200, {"scores": [1.0, 2.0], "parts": {"x": [1.0]}}), "'parts/x' with 1 values"),
        ((200, {"scores": [1.0, 2.0], "parts": [1]}), "parts"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_service_that_fails_is_an_error_of_exit_code_69_and_never_a_number(answer: Any, said: str) -> None:
    with serving(lambda body, before: answer) as server, pytest.raises(ServiceError, match=said) as caught:
        remote(server.url, retries=1).score(samples("a", "b"))
    assert caught.value.exit_code == 69 and caught.value.fix and server.url in caught.value.what
    assert len(server.bodies) == (2 if answer[0] == 500 else 1), "only what may pass is tried again"


def test_a_service_that_is_down_or_too_slow_is_named_with_the_number_of_tries() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ServiceError, match=r"cannot be reached \(3 tries\).*refused"):
        remote(nobody, retries=2).score(samples("a"))

    def slow(body: Any, before: int) -> tuple[int, Any]:
        time.sleep(0.5)
        return lengths(body, before)

    with serving(slow) as server, pytest.raises(ServiceError, match="did not answer in time"):
        remote(server.url, retries=0, timeout=0.1).score(samples("a"))


def test_what_speaks_no_http_is_a_service_error_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 mail ready\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ServiceError, match="does not speak HTTP"):
            remote(f"http://127.0.0.1:{server.getsockname()[1]}", retries=0).score(samples("a"))
        thread.join()


@pytest.mark.parametrize("url", ["ftp://host/x", "http://", "http://user:password@host/", "localhost:8000"])
def test_an_address_that_is_none_or_holds_a_password_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Service(url)
    assert "password@" not in str(caught.value)
