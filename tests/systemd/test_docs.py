"""What the documents have the reader do works, and what they show is what one sees."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs import DOCUMENTS, RECIPES, Command, Scene, scenes
from tests.docs.play import is_left_out, play
from tests.netns import Namespace, connect
from tests.sandbox import Sandbox
from tests.tree import ROOT

SCENES = {
    scene.title: scene
    for document in DOCUMENTS
    if document not in RECIPES
    for scene in scenes(document)
    if not all(isinstance(action, Command) and is_left_out(action) for action in scene.actions)
}


@pytest.fixture(scope="session")
def readers_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the documents take for granted: a copy of the source tree, and servers."""
    tree = tmp_path_factory.mktemp("reader")
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, tree / "root/sockreg", ignore=ignored)
    shutil.copytree(ROOT / "tests/docs/root", tree, dirs_exist_ok=True)
    return tree


@contextmanager
def played(trees: list[Path], title: str) -> Iterator[Sandbox]:
    """The box in which a scene has been played."""
    with Sandbox(trees=trees) as box:
        play(box, SCENES[title])
        yield box


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_documents_hold(installed: Path, readers_files: Path, scene: Scene) -> None:
    installs = any("pip install" in command.line for command in scene.commands())
    with Sandbox(trees=[readers_files] if installs else [installed, readers_files]) as box:
        play(box, scene)


def test_answers_come_from_the_address_that_was_asked(installed: Path, readers_files: Path) -> None:
    recipe = "docs/recipes.md: UDP replies from the right address"
    with (
        played([installed, readers_files], recipe) as box,
        box.network.new_socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(10)
        client.connect(("192.0.2.7", 7))  # takes answers from there alone
        client.send(b"hello")
        assert client.recv(99) == b"hello"


def test_moving_from_tproxy_refuses_nobody(installed: Path, readers_files: Path) -> None:
    request = b"GET / HTTP/1.0\r\n\r\n"
    with Sandbox(trees=[installed, readers_files]) as box, Namespace() as elsewhere:
        connect(elsewhere, "eth0", box.network, "eth0", ("198.51.100.1/24", "198.51.100.2/24"))
        elsewhere.add_route("192.0.2.0/24", via="198.51.100.2")
        asked: list[str] = []
        early = elsewhere.new_socket(socket.AF_INET, socket.SOCK_STREAM)

        def ask(after: Command) -> None:
            """Ask after each command from the last one of the old configuration on."""
            if "table 100" in after.line and not asked:
                early.connect(("192.0.2.7", 80))
            elif not asked:
                return
            answer = elsewhere.ask("192.0.2.7", 80, request=request)
            asked.append(f"{after.line}: {answer.splitlines()[-1]}")

        with early:
            play(box, SCENES["docs/tproxy.md: Moving a service over"], ask)
            early.settimeout(10)
            early.sendall(request)
            assert b"reached at 192.0.2.7 port 80" in early.recv(999)
    assert len(asked) == 7
    assert all("reached at 192.0.2.7 port 80" in answer for answer in asked), asked
