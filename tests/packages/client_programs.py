"""Programs that log in by ssh libraries; they take the user as an argument."""

from __future__ import annotations

HOST = "127.0.0.1"
ENTER = """\
class Enter(asyncssh.SSHClient):
    def kbdint_auth_requested(self):
        return ""

    def kbdint_challenge_received(self, name, instructions, lang, prompts):
        return [""] * len(prompts)
"""
"""A handler that answers prompts with Enter."""

PROGRAMS = {
    "by-paramiko": f"""\
import sys

import paramiko

answer = {{"password": sys.argv[2]}} if len(sys.argv) > 2 else {{}}
client = paramiko.SSHClient()
client.load_host_keys("/root/known-hosts")
client.connect("{HOST}", username=sys.argv[1], key_filename="/root/key", **answer)
print(client.exec_command("cat precious")[1].read().decode())
""",
    "by-asyncssh": f"""\
import asyncio
import sys

import asyncssh


{ENTER}

async def main():
    factory = {{"client_factory": Enter}} if "handler" in sys.argv else {{}}
    options = {{"client_keys": ["/root/key"], "known_hosts": "/root/known-hosts", **factory}}
    async with asyncssh.connect("{HOST}", username=sys.argv[1], **options) as connection:
        print((await connection.run("cat precious")).stdout)


asyncio.run(main())
""",
}
