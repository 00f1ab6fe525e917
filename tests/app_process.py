"""The page of examples/app.py as a process of its own, as a user starts it."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

EXAMPLES = Path(__file__).parent.parent / "examples"

# Notes whom the process talks to or looks up, other than this machine.
WATCH = """
import os, sys

def watch(event, details):
    if event == "socket.connect":
        place = details[1]
        host = place[0] if isinstance(place, tuple) else None
    elif event == "socket.getaddrinfo":
        host = details[0]
    else:
        return
    host = host.decode() if isinstance(host, bytes) else host
    if host not in (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0"):
        with open(os.environ["TALKED_TO"], "a") as file:
            file.write(f"{event} {host}\\n")

sys.addaudithook(watch)
"""


class Page(NamedTuple):
    """A running page.

    Attributes:
        url: where it is.
        process: that serves it.
        output: file of what it prints.
        talked_to: file of the other machines that it spoke to or looked up.
    """

    url: str
    process: subprocess.Popen
    output: Path
    talked_to: Path


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@contextmanager
def serving(folder: Path, *arguments: str) -> Iterator[Page]:
    """The page, until the block ends; its files go to the folder."""
    port = free_port()
    watching = folder / "watching"
    watching.mkdir()
    (watching / "sitecustomize.py").write_text(WATCH)
    talked_to, output = folder / "talked_to", folder / "output"
    talked_to.touch()
    environment = {
        **os.environ,
        "CONJURE_ST_CACHE": "off",
        "GRADIO_TEMP_DIR": str(folder / "gradio"),
        "PYTHONPATH": str(watching),
        "TALKED_TO": str(talked_to),
    }
    command = [sys.executable, str(EXAMPLES / "app.py"), "--port", str(port), *arguments]
    with output.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment, cwd=folder)
    page = Page(f"http://127.0.0.1:{port}", process, output, talked_to)
    try:
        wait_for(page)
        yield page
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
    assert process.returncode == 0, output.read_text()
    _, _, end = output.read_text().partition("Keyboard interruption")
    assert end and "Traceback" not in end


def wait_for(page: Page, seconds: float = 240) -> None:
    """Until it answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(page.url, timeout=10):
                return
        except OSError:
            assert page.process.poll() is None, page.output.read_text()
            time.sleep(0.2)
    raise AssertionError(f"no page after {seconds} s:\n{page.output.read_text()}")
