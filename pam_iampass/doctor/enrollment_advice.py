"""PAM lines on which `enroll_at_login` does not work, since they do not demand a key first."""

from __future__ import annotations

from collections.abc import Iterator

from pam_iampass.config.settings import Settings
from pam_iampass.errors import Problem, Severity
from pam_iampass.pam.modules import demands_key, our_lines
from pam_iampass.pam.stack import Handler, PamFiles, UnusableService

KEY = "enroll_at_login"
_WHAT = "needs first_factor=publickey on this line: without it, users who have no phone are denied"


def problems(settings: Settings, files: PamFiles) -> Iterator[Problem]:
    """A problem for each of our PAM lines without `first_factor=publickey` in a service that enrolls at login.

    A service that names us and that libpam cannot use is a problem as well. Files that cannot be read are left out.
    """
    reported: set[str] = set()
    for service in _names(files):
        if not settings.for_service(service).enroll_at_login:
            continue
        try:
            ours = our_lines(files.service(service))
        except OSError:
            continue
        except UnusableService as error:
            if any("pam_iampass" in text for text in files.texts(service)):
                file = files.path(service) or files.folders[0] / service
                what = f"the PAM service cannot be checked: {error}"
                yield Problem(file, None, KEY, what, "correct the PAM file", Severity.WARNING)
            continue
        for line in ours:
            if not demands_key(line) and line.place not in reported:
                reported.add(line.place)
                yield _problem(line, service)


def _problem(line: Handler, service: str) -> Problem:
    remedy = (
        "add first_factor=publickey to the line if it is for sshd; otherwise set enroll_at_login "
        f"for the services of sshd only, or services: {{{service}: {{enroll_at_login: false}}}}"
    )
    return Problem(line.file, line.line, KEY, _WHAT, remedy, Severity.ERROR)


def _names(files: PamFiles) -> list[str]:
    try:
        return files.names()
    except OSError:
        return []
