"""Groq's service on this machine: it answers as a test plans, and remembers what was asked of it."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common import settings
from common.data import Example
from common.preferences.calls import KEY, Report
from common.preferences.remote import ask

SECRET = "gsk-secret-of-a-test"
BIG, SMALL, OTHER = "openai/gpt-oss-120b", "openai/gpt-oss-20b", "me/unknown"
EXAMPLES = [Example(f"e{n}", f"q{n}", "CREATE TABLE t (a)", "SELECT 1") for n in range(100)]
CLOSE, HANG = "close", "hang"  # replies that are none: the connection ends at once, or when the test does
Reply = tuple[int, object, dict[str, str]] | str  # status, content (as JSON, or bytes) and headers


def success(text: str | None, finish: str = "stop", prompt: object = 100, completion: object = 10) -> Reply:
    choices = [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text}}]
    return 200, {"choices": choices, "usage": {"prompt_tokens": prompt, "completion_tokens": completion}}, {}


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Reply:
    """headers: with _ for -."""
    content = {"error": {"message": message, "code": code}}
    return status, content, {name.replace("_", "-"): value for name, value in headers.items()}


class Service:
    """requests: their bodies. keys: the authorizations they had. active, peak: how many are, and were at most, in
    flight. plan: gives the reply to a body, or None for a success whose text is of this question and model alone."""

    def __init__(self):
        self.url = ""
        self.requests: list[dict] = []
        self.keys: set[str] = set()
        self.active = self.peak = 0
        self.plan: Callable[[dict], Reply | None] = lambda body: None
        self.end = threading.Event()
        self.lock = threading.Lock()

    def script(self, *replies: Reply) -> None:
        """The next requests get these replies."""
        queue = list(replies)
        self.plan = lambda body: queue.pop(0) if queue else None

    def count(self, model: str | None = None, question: str | None = None) -> int:
        """Requests of that model and question."""
        return sum(
            model in (None, body["model"]) and question in (None, question_of(body)) for body in list(self.requests)
        )

    def reply(self, body: dict) -> Reply:
        with self.lock:
            self.requests.append(body)
            self.active += 1
            self.peak = max(self.peak, self.active)
        try:
            reply = self.plan(body) or success(f"SELECT '{question_of(body)}' -- {body['model']}")
            if reply == HANG:
                self.end.wait(20)
            return reply
        finally:
            with self.lock:
                self.active -= 1


def question_of(body: dict) -> str:
    return body["messages"][-1]["content"]


@contextmanager
def serving() -> Iterator[Service]:
    service = Service()

    class Handler(BaseHTTPRequestHandler):
        protocol_version, wbufsize = "HTTP/1.1", -1  # one write a reply

        def do_POST(self) -> None:
            service.keys.add(self.headers["Authorization"])
            reply = service.reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if reply in (CLOSE, HANG):
                self.close_connection = True
                return
            status, content, headers = reply
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(data)),
                **headers,
            }.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that is gone
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    service.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield service
    finally:
        service.end.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr(settings, "_config", dict)  # whoever runs the tests may have a key
    monkeypatch.setenv(KEY, SECRET)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serving() as service:
        yield service


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers" / "groq.jsonl"


@pytest.fixture
def run(service: Service, path: Path) -> Callable[..., Report]:
    """Asks for `count` examples and never sleeps; `run.sleeps` has the seconds that it should have slept."""

    async def sleep(seconds: float) -> None:
        run.sleeps.append(seconds)
        await asyncio.sleep(0)

    def run(count: int = 1, **options: object) -> Report:
        options = {"models": [BIG], "path": path, "base_url": service.url, "sleep": sleep, "concurrency": 1} | options
        return ask(EXAMPLES[:count], **options)

    run.sleeps = []
    return run
