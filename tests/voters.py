"""People who vote by script: what they prefer is known, and they go through the page's own interface."""

import itertools
import json
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests

AT_ONCE = 4
SECONDS = 60.0
"""That a vote is said to have taken: more than reading takes."""
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True)
class Answer:
    """What a model said, and which it was."""

    text: str
    model: str
    identity: str


@dataclass(frozen=True)
class Voters:
    """Several of one mind."""

    address: str
    likes: Callable[[str], float]
    """The greater, the better the answer."""
    names: Sequence[str] = ("ana", "bia", "caio")

    def models(self) -> list[str]:
        """Those on the page."""
        state = requests.get(f"{self.address}/api/state", timeout=TIMEOUT_SECONDS).json()
        return [model["name"] for model in state["models"]]

    def identity(self, model: str) -> str:
        """Its name and key, as its answers have it."""
        return self._answer(model, [{"role": "user", "content": "Who?"}]).identity

    def vote(self, models: tuple[str, str], questions: Sequence[str], count: int) -> list[Answer]:
        """Cast so many votes between answers of the two; returns all that were voted on."""
        asked = zip(itertools.cycle(questions), itertools.cycle(self.names), itertools.count(), strict=False)
        lock, room, voted = threading.Lock(), threading.Semaphore(count), list[Answer]()

        def go_on() -> None:
            while room.acquire(blocking=False):
                answers = None
                while answers is None:
                    with lock:
                        question, name, number = next(asked)
                    answers = self._one(models if number % 2 else models[::-1], question, name)
                with lock:
                    voted.extend(answers)

        with ThreadPoolExecutor(AT_ONCE) as voters:
            for done in [voters.submit(go_on) for _ in range(AT_ONCE)]:
                done.result()
        return voted

    def _one(self, models: Sequence[str], question: str, name: str) -> list[Answer] | None:
        """The answers that it chose between; None if one of them says nothing."""
        prompt = [{"role": "user", "content": question}]
        answers = [self._answer(model, prompt) for model in models]
        if not all(each.text.strip() for each in answers):
            return None
        first, second = (self.likes(each.text) for each in answers)
        ballot = {
            "id": uuid.uuid4().hex,
            "kind": "choice",
            "prompt": prompt,
            "answers": [{"text": each.text, "model": each.identity} for each in answers],
            "vote": "tie" if first == second else "ab"[second > first],
            "voter": name,
            "seconds": SECONDS,
            "language": "en",
        }
        self._post("votes", ballot).close()
        return answers

    def _answer(self, model: str, prompt: list[dict[str, str]]) -> Answer:
        """Whole, from its stream."""
        text, identity = "", model
        body = {"model": model, "messages": prompt, "max_tokens": 24, "temperature": 1.0}
        with self._post("answer", body) as stream:
            for part in _events(stream):
                text, identity = text + part["text"], part["as"]
        return Answer(text, model, identity)

    def _post(self, name: str, body: dict[str, Any]) -> requests.Response:
        answer = requests.post(f"{self.address}/api/{name}", json=body, stream=True, timeout=TIMEOUT_SECONDS)
        assert answer.ok, answer.text
        return answer


def _events(stream: requests.Response) -> Iterator[dict[str, Any]]:
    for line in stream.iter_lines():
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))
