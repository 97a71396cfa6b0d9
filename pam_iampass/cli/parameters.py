"""Options and arguments that several verbs have, and the types of their values."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Callable, TypeVar

import click
from click.shell_completion import CompletionItem

from pam_iampass.cli import Verbs
from pam_iampass.config import settings, user_table
from pam_iampass.config.settings import DEFAULT_PATH
from pam_iampass.config.user_table import folder_of, user_of
from pam_iampass.config.value_types import name_error, phone_number, plain_name
from pam_iampass.errors import PamIampassError, shown
from pam_iampass.system import trusted_file
from pam_iampass.system.accounts import Accounts, LookupFailed, UnknownAccount, login_accounts
from pam_iampass.system.service_user import config_readers

_F = TypeVar("_F", bound=Callable[..., Any])
_MAX_CHOICES = 500  # user names offered by shell completion
_WORDS = {
    1: ("ms", "msec"),
    1000: ("s", "sec", "second", "seconds"),
    60_000: ("m", "min", "minute", "minutes"),
    3_600_000: ("h", "hr", "hour", "hours"),
    86_400_000: ("d", "day", "days"),
    604_800_000: ("w", "week", "weeks"),
}
_UNITS = {word: milliseconds for milliseconds, words in _WORDS.items() for word in words}
_TERM = re.compile(rf"([0-9]{{1,6}}) ?({'|'.join(sorted(_UNITS, key=len, reverse=True))})(?![a-z])")
_NO_DURATION = "is not a duration such as 90s, 10m, '2 hours' or 1d"
_NO_TIME = "is not a point in time such as 2h, '7 days ago', today, 17:30 or 2026-11-24"


class UserName(click.ParamType):
    """A user name as typed; a shell completes it."""

    name = "user"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The people of the machine and the users in the table, as far as this process may read it."""
        names = sorted(name for name in _known(ctx) if name.startswith(incomplete) and name.isprintable())
        return [CompletionItem(name) for name in names[:_MAX_CHOICES]]


class Parsed(click.ParamType):
    """A value that `parse` makes of the text. The text of its ValueError completes a sentence about the value."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The parsed value."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


USER = UserName()


def _id(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{1,32}", text):
        raise ValueError("is not the beginning of an id of 32 hexadecimal digits")
    return text


SESSION_ID = Parsed("session", _id)
LOGIN_ID = Parsed("login", _id)

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, readable=False),
    default=DEFAULT_PATH,
    show_default=True,
    callback=lambda _ctx, _param, path: path.absolute(),
    help="The settings file. It names the user table.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
csv_option = click.option(
    "--csv", "as_csv", is_flag=True, help="Print CSV for a spreadsheet instead of text."
)
service_option = click.option(
    "--service",
    "services",
    multiple=True,
    metavar="SERVICE",
    help="Only this PAM service. Can be repeated.",
)
token_option = click.option(
    "--token", help="The user's IAMPASS token. Other users of this machine can see it in the process list."
)
sms_option = click.option(
    "--sms",
    "number",
    type=Parsed("number", phone_number),
    help="Send the link to this phone number instead of showing it.",
)
message_option = click.option("--message", help="The text of the message before the link.")
new_device_option = click.option(
    "--new-device", is_flag=True, help="Register another phone, without waiting for it."
)
display_name_option = click.option(
    "--display-name",
    type=Parsed("name", plain_name),
    help="The name that the IAMPASS app shows.  [default: USER@MACHINE]",
)


def yes_option(does: str = "Do not ask.") -> Callable[[_F], _F]:
    """`--yes`, of a command that asks by `output.confirm`. `does` is its effect."""
    return click.option(
        "--yes",
        is_flag=True,
        help=f"{does} Required if standard input is not a terminal.",
    )


def file_option(help: str) -> Callable[[_F], _F]:
    """`--from FILE`, a file of users."""
    return click.option(
        "--from",
        "file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help=help,
    )


def wait_option(help: str) -> Callable[[_F], _F]:
    """Whether the command waits for a phone; None if neither is given."""
    return click.option("--wait/--no-wait", "waits", default=None, help=help)


def account(name: str) -> str | None:
    """The canonical name of an account (`pw_name`), None if it does not exist. Raises ClickException if NSS fails."""
    try:
        return Accounts().named(name).name
    except UnknownAccount:
        return None
    except LookupFailed as failure:
        raise click.ClickException(str(failure)) from None


def entry_of(name: str, config: Path = Path(DEFAULT_PATH)) -> user_table.Entry | None:
    """The entry of a name in the user table; None if there is none, or if it cannot be read."""
    return _entry(name, settings.check(config, readers=config_readers()).users)


def _entry(name: str, users: Path | None) -> user_table.Entry | None:
    with suppress(PamIampassError):
        return None if users is None else user_table.UserTable(users).find(name)
    return None


def person(name: str, config: Path = Path(DEFAULT_PATH)) -> str:
    """The canonical name of an account, or the name of a person without one in the user table or at a gateway.

    Raises ClickException.
    """
    found = account(name)
    if found is not None:
        return found
    read = settings.check(config, readers=config_readers())
    if read.settings is not None and read.settings.gateways and not name_error(name):
        return name  # the gateway's people need no account here
    if _entry(name, read.users) is not None:
        return name
    raise click.ClickException(f"{shown(name)} is not an account of this machine, and not in the user table")


def _milliseconds(text: str) -> int:
    """The length of a duration, one or several numbers with their units. Raises ValueError."""
    if not re.fullmatch(rf"{_TERM.pattern}( ?{_TERM.pattern})*", text):
        raise ValueError(_NO_DURATION)
    found = sum(int(number) * _UNITS[unit] for number, unit in _TERM.findall(text))
    if found == 0:
        raise ValueError(_NO_DURATION)
    return found


def seconds(text: str) -> int:
    """A duration in whole seconds, such as `90s`, `10m`, `2 hours` or `1d`. Raises ValueError."""
    whole, rest = divmod(_milliseconds(text), 1000)
    if rest:
        raise ValueError("is not a whole number of seconds")
    return whole


def point_in_time(text: str, now: datetime) -> datetime:
    """The time that `text` means, in the time zone of `now`. Raises ValueError.

    Accepted are `30m`, `7 days ago` and other durations before now, `now`, `today`, `yesterday`, `17:30` (of today),
    `yesterday 17:30`, `2026-11-24` and `2026-11-24 17:30`, also with seconds and an offset such as `+01:00`.
    """
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    words = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    try:
        with suppress(ValueError):
            return now - timedelta(milliseconds=_milliseconds(text.removesuffix(" ago")))
        if text in words:
            return words[text]
        clock = re.fullmatch("(?:(today|yesterday) )?([0-9]{2}:[0-9]{2}(?::[0-9]{2})?)", text)
        found = datetime.fromisoformat(f"{words[clock[1] or 'today']:%Y-%m-%d} {clock[2]}" if clock else text)
    except (OverflowError, ValueError):
        raise ValueError(_NO_TIME) from None
    return found if found.tzinfo else found.replace(tzinfo=now.tzinfo)


DURATION = Parsed("time", seconds)
SHORT_DURATION = Parsed("time", lambda text: _milliseconds(text) / 1000)
POINT_IN_TIME = Parsed("time", lambda text: point_in_time(text, datetime.now().astimezone()))
since_option = click.option(
    "--since",
    type=POINT_IN_TIME,
    help="Only records after this time: 30m, 2h, '7 days ago', today, 'yesterday 18:00', 17:30, 2026-11-24,"
    " '2026-11-24 17:30'.",
)
until_option = click.option("--until", type=POINT_IN_TIME, help="Only records before this time.")
let_in_option = click.option("--let-in", is_flag=True, help="Only successful logins.")
login_option = click.option(
    "--login",
    type=LOGIN_ID,
    metavar="ID",
    help="Only the login whose id begins with ID; it is the same on the host and at its gateway.",
)
timeout_option = click.option(
    "--timeout", type=DURATION, default="10m", show_default=True, help="How long to wait: 90s, 10m, 2h."
)


def _known(ctx: click.Context) -> set[str]:
    """The names to choose from. Errors are ignored: the user is still typing."""
    names = set(login_accounts())
    users = settings.check(Path(ctx.params.get("config") or DEFAULT_PATH).absolute()).users
    return names if users is None else names | _listed(users)


def _listed(users: Path) -> set[str]:
    """The users in the table, without reading the files of single users."""
    names: set[str] = set()
    with suppress(PamIampassError):
        names |= set(user_table.read(users, 0).entries)
    with suppress(PamIampassError):
        names |= {user for user in map(user_of, trusted_file.names(folder_of(users))) if user is not None}
    return names


class CommandWithVerbs(Verbs):
    """A verb comes first; without one, the words are the arguments of the command itself.

    `is_argument` tells of a first word that is like a verb whether it is an argument.
    """

    allow_extra_args = False
    allow_interspersed_args = True

    def __init__(self, *arguments: Any, is_argument: Callable[[str], bool], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._is_argument = is_argument

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] in self.commands:
            ctx.args = list(args)
            return ctx.args
        if args and not (ctx.resilient_parsing or args[0].startswith("-") or self._is_argument(args[0])):
            self.suggest(ctx, args[0])
        return click.Command.parse_args(self, ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        if not ctx.args:
            return click.Command.invoke(self, ctx)
        name, command, args = self.resolve_command(ctx, ctx.args)
        assert command is not None  # noqa: S101 - parse_args has found it
        with command.make_context(name, args, parent=ctx) as below:
            return command.invoke(below)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return click.Command.collect_usage_pieces(self, ctx)


class OwnArgument(click.Argument):
    """An argument of the command itself, which is not named before a verb."""

    def get_usage_pieces(self, ctx: click.Context) -> list[str]:
        return super().get_usage_pieces(ctx) if self in ctx.command.params else []
