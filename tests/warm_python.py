"""A Python that has the toolkit loaded already: `serve` forks for each script, which saves seconds a start.

    python tests/warm_python.py serve SOCKET
    python tests/warm_python.py call SOCKET PYTHON SCRIPT ARGUMENT...

`call` runs a script in a process of its own with the caller's arguments, folder, environment, input and output, hands
signals on, is killed with it, and ends with its exit code. Programs that need no torch run in a cold PYTHON.
"""

import json
import os
import runpy
import signal
import socket
import sys
import threading
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
FORKED = ("main_DM.py", "main_DD.py", "main_RTP.py", "main_IDC.py", "evaluate.py", "scripts/sweep.py")


def serve(address):
    sys.path.insert(0, str(REPOSITORY))
    import torch

    import evaluate  # noqa: F401
    import main_DM  # noqa: F401
    from condense.data import load_data
    from condense.sweeps.__main__ import main  # noqa: F401

    torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)        # loads what optimisers load late
    load_data("Digits")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen()
        print("ready", flush=True)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                run(connection)
            connection.close()


def run(connection):
    """Be the process of one call."""
    message, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    call = json.loads(message)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["environment"])
    sys.argv = call["arguments"]
    sys.stdout.reconfigure(line_buffering=True)
    connection.sendall(f"{os.getpid()}\n".encode())
    threading.Thread(target=end_with, args=[connection], daemon=True).start()
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stdout.flush()
        connection.sendall(f"{code}\n".encode())
        os._exit(code)


def end_with(connection):
    """Kill this process once its caller is gone."""
    connection.recv(1)
    os.kill(os.getpid(), signal.SIGKILL)


def call(address, python, *arguments):
    if not arguments[0].endswith(FORKED):
        os.execv(python, [python, *arguments])
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        message = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
        socket.send_fds(connection, [json.dumps(message).encode()], [0, 1, 2])
        answers = connection.makefile()
        process = int(answers.readline())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, frame: os.kill(process, number))
        sys.exit(int(answers.readline() or 128 + signal.SIGKILL))


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
