"""Downloads: once, whole, checked, under the URL's name; and every way in which they fail."""

import hashlib
import http.server
import logging
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest

from condense.sharing import fetch
from condense.sharing.fetch import local_copy

CONTENT = bytes(range(256)) * 2000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """A server on this machine; `asked` lists (method, path) of every request, `release` ends silences."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked, self.release = [], threading.Event()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}/{path}"

    def downloads(self):
        return [path for method, path in self.asked if method == "GET"]


class Answer(http.server.BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.server.asked.append((self.command, self.path))
        kind = self.path.split("/")[1]
        if kind == "silent":
            self.server.release.wait(20)
            return
        if kind == "absent" or (kind == "nohead" and not body):
            self.send_error(404 if kind == "absent" else 405)
            return
        if kind == "moved":
            self.send_response(302)
            self.send_header("Location", self.server.url("there/real.pt"))
            self.end_headers()
            return
        self.send_response(200)
        if kind != "nolength":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        if body:
            time.sleep(0.2 if kind == "slow" else 0)
            self.wfile.write(CONTENT[:len(CONTENT) // 3] if kind in ("cut", "stalled") else CONTENT)
            if kind == "stalled":
                self.server.release.wait(20)


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CONDENSE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_in(cache):
    """Names of what the cache holds, but for locks."""
    return [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


@contextmanager
def refused(kind, *words):
    with pytest.raises(kind) as caught:
        yield
    message = str(caught.value)
    assert "\n" not in message and [word for word in words if word not in message] == []


@pytest.mark.parametrize("kind", ["there", "nolength", "nohead", "moved"])
def test_a_url_becomes_a_file_of_its_name_and_works_offline_afterwards(server, cache, kind):
    url = server.url(f"{kind}/res_DM_CIFAR10_ConvNet_10ipc.pt")
    path = local_copy(url, progress=False)
    assert path.read_bytes() == CONTENT and path.name == "res_DM_CIFAR10_ConvNet_10ipc.pt" and cache in path.parents
    server.shutdown()
    server.server_close()
    assert local_copy(url, progress=False) == path and local_copy(url, SHA256, progress=False) == path
    assert files_in(cache) == [path.name]


def test_neighbours_on_the_server_are_neighbours_here_and_others_are_not(server):
    images, labels = (local_copy(server.url(f"run/{name}_best.pt"), progress=False) for name in ("images", "labels"))
    other = local_copy(server.url("other/images_best.pt"), progress=False)
    queried = local_copy(server.url("run/images_best.pt?version=2"), progress=False)
    assert images.parent == labels.parent and len({images, other, queried}) == 3
    assert {path.name for path in (images, other, queried)} == {"images_best.pt"}


@pytest.mark.parametrize("path, name", [("there/a%20set%2F..%2Fx.pt", "a_set_.._x.pt"), ("there/.hidden", "hidden"),
                                        ("there/", "there"), ("", "set")])
def test_names_are_made_safe(server, path, name):
    assert local_copy(server.url(path), progress=False).name == name


def test_a_local_path_comes_back_as_it_is_and_is_held_against_the_checksum(tmp_path):
    path = tmp_path / "x.pt"
    path.write_bytes(CONTENT)
    assert local_copy(str(path)) == path and local_copy(path, SHA256.upper()) == path
    assert local_copy(tmp_path / "absent") == tmp_path / "absent"              # for whoever reads it to say
    path.write_bytes(CONTENT[1:])
    with refused(ValueError, str(path), SHA256, "--sha256"):
        local_copy(path, SHA256)
    with refused(FileNotFoundError, "absent"):
        local_copy(tmp_path / "absent", SHA256)
    with refused(ValueError, "folder"):
        local_copy(tmp_path, SHA256)


@pytest.mark.parametrize("wrong", ["abc", SHA256[:-1], SHA256 + "0", "g" * 64])
def test_a_checksum_that_is_none_is_refused_before_anything_is_asked(server, wrong):
    with refused(ValueError, "64 hex digits"):
        local_copy(server.url("there/x.pt"), wrong)
    assert server.asked == []


def test_the_checksum_is_said_where_none_was_given(server, caplog):
    caplog.set_level(logging.INFO, "condense")
    local_copy(server.url("there/x.pt"), progress=False)
    assert SHA256 in caplog.text
    caplog.clear()
    local_copy(server.url("there/y.pt"), SHA256, progress=False)
    assert SHA256 not in caplog.text


def test_a_download_with_another_checksum_is_refused_and_not_kept(server, cache):
    with refused(ValueError, SHA256, "0" * 64):
        local_copy(server.url("there/x.pt"), "0" * 64, progress=False)
    assert files_in(cache) == []


def test_a_copy_that_was_changed_is_refused_by_its_checksum(server, cache):
    url = server.url("there/x.pt")
    path = local_copy(url, SHA256, progress=False)
    path.write_bytes(b"changed")
    with refused(ValueError, str(path), "delete it"):
        local_copy(url, SHA256, progress=False)
    path.unlink()
    assert local_copy(url, SHA256, progress=False).read_bytes() == CONTENT


def test_a_connection_that_is_cut_leaves_nothing_and_says_how_far_it_came(server, cache):
    with refused(OSError, "cut off", f"{len(CONTENT) // 3:,} of {len(CONTENT):,} bytes"):
        local_copy(server.url("cut/x.pt"), progress=False)
    assert files_in(cache) == []


def test_what_is_not_there_is_said_with_the_servers_answer(server, cache):
    with refused(FileNotFoundError, "404", "check the address"):
        local_copy(server.url("absent/x.pt"), progress=False)
    assert files_in(cache) == []


def test_a_server_that_is_not_there_is_said(cache):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with refused(FileNotFoundError, "cannot be downloaded", "network"):
        local_copy(f"http://127.0.0.1:{port}/x.pt", progress=False)
    with refused(FileNotFoundError, "cannot be downloaded"):
        local_copy("http://no-such-host.invalid/x.pt", progress=False)
    assert files_in(cache) == []


@pytest.mark.parametrize("kind", ["silent", "stalled"])
def test_a_silent_server_is_given_up(server, cache, monkeypatch, kind):
    monkeypatch.setattr(fetch, "SILENCE_S", 0.3)
    before, start = socket.getdefaulttimeout(), time.perf_counter()
    with refused(FileNotFoundError, "did not answer"):
        local_copy(server.url(f"{kind}/x.pt"), progress=False)
    assert time.perf_counter() - start < 5 and socket.getdefaulttimeout() == before
    assert files_in(cache) == []


def test_a_disk_that_cannot_take_it_leaves_nothing(server, cache, monkeypatch):
    def full(url, target, **options):
        with open(target, "wb") as file:
            file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fetch.torch.hub, "download_url_to_file", full)
    with refused(OSError, "No space left", "room"):
        local_copy(server.url("there/x.pt"), progress=False)
    assert files_in(cache) == []


def test_a_cache_that_cannot_be_made_is_said_with_its_mend(server, cache):
    cache.write_text("a file in its place")
    with refused(OSError, "CONDENSE_CACHE"):
        local_copy(server.url("there/x.pt"), progress=False)


def test_threads_at_once_download_once(server, cache):
    url, found = server.url("slow/x.pt"), []
    threads = [threading.Thread(target=lambda: found.append(local_copy(url, progress=False))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4 and len(set(found)) == 1 and found[0].read_bytes() == CONTENT
    assert server.downloads() == ["/slow/x.pt"]


def test_processes_at_once_download_once(server, cache):
    url = server.url("slow/x.pt")
    program = ("import sys; from condense.sharing.fetch import local_copy;"
               "print(local_copy(sys.argv[1], progress=False))")
    processes = [subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE, text=True)
                 for _ in range(2)]
    said = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(said) == 1 and server.downloads() == ["/slow/x.pt"]
    with open(said.pop(), "rb") as file:
        assert file.read() == CONTENT
