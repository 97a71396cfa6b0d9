"""The lines that make a PAM file ask the phone, and how they are taken away again.

The marks of `pam/lines.py` say how the file was before.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from pam_iampass.check.stack_check import StackCheck
from pam_iampass.errors import SetupRefused
from pam_iampass.outcome import PamCode
from pam_iampass.pam.lines import MARK, OUT, WORDS, Action, lines, marked, unedited
from pam_iampass.pam.modules import (
    ALWAYS,
    DEMANDS_KEY,
    NATIVE,
    TAKES_CODE,
    Role,
    is_ours,
    may_refuse,
    our_lines,
    role,
    stem,
    takes_code,
)
from pam_iampass.pam.stack import OTHER, Dialect, Handler, HandlerKind, PamFiles, PamType, UnusableService

KEY, PASSWORD, QUIET, CODES = "key", "password", "quiet", "codes"
"""How sshd asks: with a prompt after the key or the password, or without one after any first factor. With `codes`, it
takes a recovery code before the first factor, too."""

_HEADING = "# Written by `pam-iampass setup`: all lines of {}, and ours.\n"
_ASKING = re.compile(rf"[#\s]*-?(auth|account)\s.*{re.escape(NATIVE)}", re.I)
_TYPE_AND_CONTROL = re.compile(r"(\S+)\s+(\[(?:\\\]|[^\]])*\]|\S+)\s*(.*)", re.S)
_GUARD = (
    "[acct_expired=die authtok_expired=die cred_expired=die perm_denied=die auth_err=die maxtries=die"
    " default=ignore]"
)
"""The control that ends the stack for what would be refused anyway, and decides nothing else. It is never
`default=die`: for an expired password the stack would then end without the phone, and sshd lets the user in to change
it."""
_WRITTEN = (DEMANDS_KEY, TAKES_CODE, ALWAYS)
_ENDS = (PamCode.SUCCESS, PamCode.NEW_AUTHTOK_REQD)


def has_asking_line(text: str) -> bool:
    """Whether a line of ours asks the phone, or would if a person had not commented it out."""
    return any(_ASKING.match(line) for line in marked(text) if TAKES_CODE not in line.split())


def arguments(text: str) -> dict[str, str]:
    """The arguments that a person has added to our lines of each type, such as `rescue=NAME`."""
    found = {}
    for line in marked(text):
        words = line.partition("#")[0].split()
        if len(words) > 3 and words[2] == NATIVE:
            found[words[0]] = " ".join(word for word in words[3:] if word not in _WRITTEN)
    return found


def including(source: Path, dialect: Dialect) -> str:
    """A file in /etc/pam.d that overrides `source`, in another folder, and has the same lines."""
    if dialect.at_include:
        return _HEADING.format(source) + f"@include {source}\n"
    kinds = ("auth", "account", "password", "session")
    return _HEADING.format(source) + "".join(f"{kind:<10} include     {source}\n" for kind in kinds)


def without_us(path: Path, text: str) -> str | None:
    """A PAM file without our lines; None if it then only includes the one that it overrides."""
    before = unedited(text)
    first, *rest = before.split("\n")
    made = first.startswith(_HEADING.partition("{")[0])
    return None if made and all(line.endswith(f"/{path.name}") for line in rest if line.strip()) else before


def with_us(
    path: Path, text: str, files: PamFiles, way: str = "", kept: Mapping[str, str] | None = None
) -> str:
    """A PAM file without our lines, with them. `way` is one of sshd's, or `always` of sudo, else empty.

    `files` are the PAM files of the machine; this one need not be among them. `kept` are further arguments of our
    lines, by type. Raises SetupRefused.
    """
    editor = Editor(path, text, files, kept or {})
    if way == KEY:
        editor.ask_after_key()
    elif way == CODES:
        editor.take_code()
    elif way != QUIET:
        editor.ask_after_password()
    if way == ALWAYS:
        editor.ask_always()
    elif way:
        editor.ask_in_account()
    editor.follow_sessions()
    return editor.result()


class Editor:
    """Puts our lines into a PAM file that has none."""

    def __init__(self, path: Path, text: str, files: PamFiles, kept: Mapping[str, str]) -> None:
        """The arguments are as for `with_us`. Raises SetupRefused."""
        self._kept = kept
        self.path = path
        self.text = text
        self._files = files
        self._lines = {line.number: line for line in lines(text)[0]}
        self._stacks = self._read(text)
        self._out: set[int] = set()
        self._before: dict[int, list[str]] = defaultdict(list)
        self._after: dict[int, list[str]] = defaultdict(list)
        self._refuse_twice()

    def ask_after_password(self) -> None:
        """Our `auth` line follows the line that asks for the password. Raises SetupRefused."""
        top = self._asking()[-1]
        included = [handler for handler in self._stacks[PamType.AUTH] if handler.top == top]
        self._end_at_refusals(PamType.AUTH, top + 1)
        # After `sufficient` in the shared file nothing that follows its include is reached; after a substack, all is.
        substack = included[0].kind is HandlerKind.SUBSTACK
        ends = any(handler.actions[PamCode.SUCCESS] is Action.DONE for handler in included)
        words = self._lines[top].words
        includes = len(words) > 1 and words[1].lower() in ("include", "substack")
        if includes and (substack or ends):
            self._out.add(top)
            written = _written_out(included[1:] if substack else included)
            if substack:
                self._lengthen_jumps(top, len(written) - 1)
            self._after[top] += written
        self._after[top].append(self._ours("auth", "required"))
        check = StackCheck(
            self.path.name, self._read(self.result())[PamType.AUTH], frozenset(), self._files.dialect
        )
        if check.needs_permit:
            self._after[top].append(_line("auth", "required", "pam_permit.so"))

    def ask_after_key(self) -> None:
        """Our `auth` line stands for the one that asks for the password: sshd has seen a key. Raises SetupRefused."""
        tops = self._asking()
        for top in tops:
            if any(
                handler.top == top
                for kind in PamType
                if kind is not PamType.AUTH
                for handler in self._stacks[kind]
            ):
                what = (
                    f"{self.path}:{top}: the line includes other lines than those that ask for the password"
                )
                raise SetupRefused(what, "name the shared files one by one, such as @include common-auth")
            self._out.add(top)
        self._end_at_refusals(PamType.AUTH, tops[-1])
        self._after[tops[-1]] += [
            self._ours("auth", "required", DEMANDS_KEY),
            _line("auth", "required", "pam_permit.so"),
        ]

    def take_code(self) -> None:
        """Our `auth` line comes first, and ends sshd's keyboard-interactive: it only takes a recovery code. Raises
        SetupRefused."""
        stack = self._stacks[PamType.AUTH]
        if not stack:
            raise SetupRefused(f"{self.path}: has no auth line", "such as @include common-auth")
        self._before[stack[0].top].append(self._ours("auth", "requisite", TAKES_CODE))

    def ask_always(self) -> None:
        """Our `account` line stands before what may end the stack, and before what may say that a password has expired:
        sudo then runs what needs none (`PamCode.NEW_AUTHTOK_REQD`, `AUTHTOK_EXPIRED`). Raises SetupRefused."""
        stack = self._account_stack()
        top = next((one.top for one in stack if _may_end(one) or role(one) is Role.OTHER_FACTOR), None)
        ours = self._ours("account", "requisite", ALWAYS)
        if top is None:
            self._end_at_refusals(PamType.ACCOUNT, stack[-1].top + 1)
            self._after[stack[-1].top].append(ours)
        else:
            self._end_at_refusals(PamType.ACCOUNT, top)
            self._before[top].append(ours)

    def _account_stack(self) -> list[Handler]:
        stack = self._stacks[PamType.ACCOUNT]
        if not stack:
            raise SetupRefused(
                f"{self.path}: has no account line", "@include common-account, or account include"
            )
        return stack

    def ask_in_account(self) -> None:
        """Our `account` line stands before what may end the stack, and after what refuses. Raises SetupRefused."""
        stack = self._account_stack()
        top = next((handler.top for handler in stack if _may_end(handler)), None)
        own = [handler for handler in stack if self._is_own(handler)]
        later = [one for one in own if top is not None and one.top > top and _refuses_alone(one)]
        guards = [_with_control(one.text, "requisite") for one in later]
        if not any(stem(handler) == "pam_nologin" for handler in stack if handler in (*later, *own)):
            guards.append(_line("account", "requisite", "pam_nologin.so"))
        guards += [
            _line("account", _GUARD, "pam_unix.so"),
            _line("-account", _GUARD, "pam_sss.so"),
            self._ours("account", "requisite"),
        ]
        if top is None:
            self._end_at_refusals(PamType.ACCOUNT, stack[-1].top + 1)
            self._after[stack[-1].top] += guards
        else:
            self._end_at_refusals(PamType.ACCOUNT, top)
            self._before[top] += guards

    def follow_sessions(self) -> None:
        """A `session` line follows pam_systemd. Without that, it comes last, but ahead of pam_env: a file of the user
        could set the variable in which sshd's authentication leaves the id of the session (`doors/native/session.c`).
        Where a line could lead past it there, it comes first: it never decides anything."""
        stack, ours = self._stacks[PamType.SESSION], self._ours("session", "optional")
        in_force = self._files.with_contents({self.path: self.text}).service(self.path.name)
        if our_lines(in_force, PamType.SESSION):
            return
        if not stack:  # libpam takes the lines of `other`, but not once there is one here
            other = [_line("session", "substack", OTHER)] if in_force.stacks[PamType.SESSION] else []
            self._after[max(self._lines)] += [*other, ours]
            return
        systemd = [place for place, one in enumerate(stack) if stem(one) == "pam_systemd"]
        environment = next((place for place, one in enumerate(stack) if stem(one) == "pam_env"), 0)
        last = stack[(systemd or [environment - 1])[-1]].top
        jumps = any(isinstance(action, int) for one in stack if self._is_own(one) for action in one.actions)
        ends = any(Action.DONE in one.actions for one in stack if one.top <= last and not one.level)
        if jumps or ends:
            self._before[stack[0].top].append(ours)
        else:
            self._after[last].append(ours)

    def result(self) -> str:
        """The new text."""
        found = []
        ends = {line.end: line.number for line in self._lines.values()}
        out_of_force = 0
        for number, raw in enumerate(self.text.split("\n"), 1):
            found += self._before[number]
            if number in self._out:
                out_of_force = self._lines[number].end
            found.append(OUT + raw if number <= out_of_force else raw)
            found += self._after[ends.get(number, 0)]
        return "\n".join(found)

    def _read(self, text: str) -> dict[PamType, list[Handler]]:
        """The stacks of the file alone, without what `other` has for types that it lacks."""
        instead = {self.path: text, self.path.parent / OTHER: ""}
        try:
            return self._files.with_contents(instead).service(self.path.name).stacks
        except UnusableService as unusable:
            raise SetupRefused(
                f"PAM: {self.path.name} does not work: {unusable}", "correct the PAM file"
            ) from None

    def _refuse_twice(self) -> None:
        """Refuse a file that leads to us already: the phone would ring twice."""
        asking = [
            one
            for kind in (PamType.AUTH, PamType.ACCOUNT)
            for one in self._stacks[kind]
            if is_ours(one) or takes_code(one)
        ]
        if asking:
            shared = asking[0].file.name.startswith("common-")
            remedy = (
                "pam-auth-update --disable iampass iampass-session" if shared else "remove that line first"
            )
            raise SetupRefused(
                f"{asking[0].place}: {self.path.name} asks the phone by this line already", remedy
            )

    def _asking(self) -> list[int]:
        """The lines that ask for the password, or include one that does."""
        found = {one.top for one in self._stacks[PamType.AUTH] if role(one) is Role.FIRST_FACTOR}
        if not found:
            what = f"{self.path}: no line asks for the password"
            raise SetupRefused(what, "such as @include common-auth, or auth include system-auth")
        return sorted(found)

    def _end_at_refusals(self, kind: PamType, end: int) -> None:
        """Make the `required` lines before `end` that can refuse `requisite`: after a failed `required` the phone
        would ring in vain."""
        for handler in self._stacks[kind]:
            if handler.top < end and self._is_own(handler) and _is_required(handler) and may_refuse(handler):
                self._out.add(handler.top)
                self._after[handler.top].insert(0, _with_control(handler.text, "requisite"))

    def _lengthen_jumps(self, top: int, more: int) -> None:
        """Make jumps over the substack at `top`, which counts as one line, as long as its lines need."""
        before = [one for one in self._stacks[PamType.AUTH] if one.top < top and one.level == 0]
        for place, handler in enumerate(before, 1):
            between = len(before) - place
            jumps = [action for action in handler.actions if isinstance(action, int) and action > between]
            if jumps and self._is_own(handler):
                control = re.sub(
                    r"=\s*([0-9]+)",
                    lambda found: f"={int(found[1]) + more * (int(found[1]) > between)}",  # noqa: B023
                    _TYPE_AND_CONTROL.fullmatch(handler.text)[2],  # type: ignore[index]
                )
                self._out.add(handler.top)
                self._after[handler.top].insert(0, _with_control(handler.text, control))

    def _is_own(self, handler: Handler) -> bool:
        return handler.file == self.path and handler.kind is HandlerKind.MODULE

    def _ours(self, kind: str, control: str, *arguments: str) -> str:
        return _line(kind, control, " ".join([NATIVE, *arguments, *self._kept.get(kind, "").split()]))


def _line(kind: str, control: str, module: str) -> str:
    return f"{kind:<10} {control:<11} {module}  {MARK}"


def _with_control(text: str, control: str) -> str:
    """A line of a PAM file with another control."""
    kind, _, rest = _TYPE_AND_CONTROL.fullmatch(text).groups()  # type: ignore[union-attr]
    return _line(kind, control, rest.strip())


def _is_required(handler: Handler) -> bool:
    return handler.actions == WORDS["required"]


def _refuses_alone(handler: Handler) -> bool:
    """Whether the line refuses by a condition that may be asked twice."""
    ends = handler.actions in (WORDS["required"], WORDS["requisite"])
    return ends and (role(handler) is Role.CONDITION or stem(handler) == "pam_nologin")


def _may_end(handler: Handler) -> bool:
    """Whether an `account` line is, or includes, what may end the stack before ours, or decides about the account."""
    if handler.kind is not HandlerKind.MODULE or role(handler) in (Role.FIRST_FACTOR, Role.LOCAL_USER):
        return True
    return any(handler.actions[code] is Action.DONE for code in _ENDS)


def _written_out(included: Sequence[Handler]) -> list[str]:
    """The included lines, which lead to the line after them where they would have ended the stack."""
    found = []
    for place, handler in enumerate(included, 1):
        if handler.kind is not HandlerKind.MODULE:
            what = f"{handler.place}: a substack cannot be written out: {handler.text}"
            raise SetupRefused(what, "write our line by hand")
        onward = str(len(included) - place or "ok")
        control = _TYPE_AND_CONTROL.fullmatch(handler.text)[2]  # type: ignore[index]
        if handler.actions == WORDS["sufficient"]:
            control = f"[success={onward} new_authtok_reqd={onward} default=ignore]"
        elif Action.DONE in handler.actions:
            control = re.sub(r"=\s*done\b", f"={onward}", control)
        elif _is_required(handler) and may_refuse(handler):
            control = "requisite"
        found.append(_with_control(handler.text, control))
    return found
