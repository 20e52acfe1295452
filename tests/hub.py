"""A hub on this machine: it answers which commit a revision is, as the real one does, and has no files."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

QUESTION = re.compile(r"/api/(?:models|datasets)/[^/]+/[^/]+(?:/revision/(.+))?")

OWN = "/api/agent-harnesses"  # what the client asks for its own sake, once a day


@contextmanager
def hub(commits: dict[str, str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Puts the hub's client on `commits` (revision → commit, of every repository) and on `cache`; gives the paths that
    were requested. An unknown revision is a 404, as is every file."""
    requests: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != OWN:
                requests.append(self.path)
            question = QUESTION.fullmatch(self.path)
            commit = commits.get(question[1] or "main", "") if question else ""
            body = json.dumps({"id": "me/tiny", "sha": commit} if commit else {"error": "none"}).encode()
            self.send_response(200 if commit else 404)
            if not commit:
                self.send_header("X-Error-Code", "RevisionNotFound" if question else "EntryNotFound")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        address = f"http://127.0.0.1:{server.server_port}"
        files = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, address)
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        yield requests
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a new process with HF_HUB_OFFLINE=1 and that cache."""
    from common.hub import hub_commit

    hub_commit.cache_clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))


def remember(cache: Path, repository: str, revision: str, commit: str) -> Path:
    """Lets the cache know `revision` as that commit; the folder of its files. repository: as `models--me--tiny`."""
    reference = cache / repository / "refs" / revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit)
    return cache / repository / "snapshots" / commit
