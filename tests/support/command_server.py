"""Runs the installed `pam-iampass` again and again, each time in a child that need not import its modules.

Started as `python3 -IS command_server.py PACKAGES`, with a socket as descriptor 0. A request is one packet: a JSON
object with `argv` and `environment`, and the descriptors of standard input, output and error. The answer is the process
id, then the wait status.
"""

import json
import os
import socket
import sys

sys.path.append(sys.argv[1])

import pam_iampass.cli
import pam_iampass.cli.doctor
import pam_iampass.cli.sandbox
import pam_iampass.cli.setup
import pam_iampass.cli.user
import pam_iampass.config.settings
import pam_iampass.doctor.report
import pam_iampass.setup.operations
import pam_iampass.setup.sandbox_use


def serve(connection: socket.socket) -> None:
    """Run the commands that are asked for, one after the other, until the other side closes the connection."""
    while True:
        packet, descriptors, _flags, _address = socket.recv_fds(connection, 1 << 16, 3)
        if not packet:
            return
        child = os.fork()
        if child == 0:
            connection.close()
            run(descriptors, **json.loads(packet))
        for descriptor in descriptors:
            os.close(descriptor)
        connection.send(str(child).encode())
        connection.send(str(os.waitpid(child, 0)[1]).encode())


def run(descriptors: "list[int]", argv: "list[str]", environment: "dict[str, str]") -> None:
    """Be the command."""
    for standard, descriptor in enumerate(descriptors):
        os.dup2(descriptor, standard)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = argv
    pam_iampass.cli.main()


serve(socket.socket(fileno=os.dup(0)))
