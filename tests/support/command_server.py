"""Runs a program again and again, each time in a child that need not import its modules.

Started as `python3 -IS command_server.py PACKAGE FOLDER...`: PACKAGE has the program as `main`, and a module for each
verb of a command; modules are looked for in the folders. Descriptor 0 is a socket. A request is one packet: a JSON
object with `argv` and `environment`, and four descriptors: standard input, output and error, and a socket for the
answer, which is the process id, then the wait status. Programs run side by side.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import select
import socket
import sys
import time

package, *folders = sys.argv[1:]
sys.path += folders
program = importlib.import_module(package)
for verb in pkgutil.iter_modules(getattr(program, "__path__", ()), f"{package}."):
    if not verb.name.endswith(".__main__"):
        importlib.import_module(verb.name)
gc.freeze()


def serve(connection: int) -> None:
    """Start the programs that are asked for, until the other side closes the connection."""
    requests = socket.socket(fileno=connection)
    answers: dict[int, tuple[int, int]] = {}  # by descriptors of the processes: their ids, and sockets
    poller = select.poll()
    poller.register(connection, select.POLLIN)
    while True:
        for ready, _events in poller.poll():
            if ready in answers:
                child, answer = answers.pop(ready)
                poller.unregister(ready)
                os.close(ready)
                with contextlib.suppress(BrokenPipeError):
                    os.write(answer, str(os.waitpid(child, 0)[1]).encode())
                os.close(answer)
                continue
            packet, descriptors, _flags, _address = socket.recv_fds(requests, 1 << 16, 4)
            if not packet:
                return
            child = os.fork()
            if child == 0:
                requests.detach()
                run(descriptors, **json.loads(packet))
            answer = descriptors.pop()
            for descriptor in descriptors:
                os.close(descriptor)
            os.write(answer, str(child).encode())
            process = os.pidfd_open(child)
            answers[process] = child, answer
            poller.register(process, select.POLLIN)


def run(descriptors: "list[int]", argv: "list[str]", environment: "dict[str, str]") -> None:
    """Be the program, with no descriptors but the standard ones."""
    for standard, descriptor in enumerate(descriptors[:3]):
        os.dup2(descriptor, standard)
    os.closerange(3, 1 << 16)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.argv = argv
    sys.exit(program.main())


serve(os.dup(0))
