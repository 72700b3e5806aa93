"""Whether the hub of models answers, asked once: its own client tries six times for each file, with pauses, aloud."""

from __future__ import annotations

import os
import ssl
from functools import cache
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

_SECONDS = 10.0


def reach(local: bool) -> dict[str, Any]:
    """Further arguments of `from_pretrained`: where the hub does not answer, only what was fetched before is looked at.

    Args:
        local: it is a folder that is asked for.
    """
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    return {} if local or _answers(hub) else {"local_files_only": True}


@cache
def _answers(url: str) -> bool:
    """Anything is an answer, a refusal too; what is wrong with certificates is for the hub's client to say."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        return False
    try:
        urlopen(Request(url, method="HEAD"), timeout=_SECONDS).close()
    except HTTPError:
        return True
    except URLError as error:
        return isinstance(error.reason, ssl.SSLError)
    except OSError:
        return False
    except (HTTPException, ValueError):
        return True
    return True
