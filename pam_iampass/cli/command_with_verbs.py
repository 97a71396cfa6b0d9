"""A command that has arguments of its own, and also verbs."""

from __future__ import annotations

from typing import Any

import click


class CommandWithVerbs(click.Group):
    """A verb comes first; without one, the words are the arguments of the command itself."""

    allow_extra_args = False
    allow_interspersed_args = True

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            return click.Command.parse_args(self, ctx, args)
        ctx.args = list(args)
        return ctx.args

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
