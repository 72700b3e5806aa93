"""A hub that does not answer is asked once, and quietly."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from socket import create_server

PROGRAM = """
from tutelage.errors import ServiceError
from tutelage.models.load import load_policy
try:
    load_policy("openai-community/gpt2")
except ServiceError as error:
    print(error.what)
"""


def test_a_hub_that_does_not_answer_is_asked_once_and_quietly(tmp_path: Path) -> None:
    calls = list[object]()
    with create_server(("127.0.0.1", 0)) as hub:

        def hang_up() -> None:
            while True:
                try:
                    connection, address = hub.accept()
                except OSError:  # closed: the test is over
                    return
                calls.append(address)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        told = {"HF_ENDPOINT": f"http://127.0.0.1:{hub.getsockname()[1]}", "HF_HUB_OFFLINE": "0"}
        told |= {"HF_HOME": str(tmp_path), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=os.environ | told, capture_output=True, text=True, timeout=300
        )
    assert done.stdout.startswith("'openai-community/gpt2' is not a folder here and could not be fetched"), done.stderr
    assert len(calls) == 1 and "etry" not in done.stderr
