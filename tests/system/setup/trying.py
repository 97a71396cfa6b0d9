"""Begins a trial that is short enough for a test, by the code that the command runs; the command counts in minutes."""

from __future__ import annotations

import sys

from pam_iampass.setup.operations import Setup


def main(seconds: str, *names: str) -> None:
    """The arguments are those of the command line."""
    sys.argv[0] = "/usr/bin/pam-iampass"  # what is to end the trial

    def tell(word: str, what: str) -> None:
        print(word, what, flush=True)
        if word == "wrote" and "--hang" in names:
            sys.stdin.read()

    setup = Setup(tell)
    setup.set_up(
        setup.plans([name for name in names if name != "--hang"], None, force=False), float(seconds) / 60
    )
    print("on trial", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
