"""The man pages say what the program has, all of it and nothing else."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from pam_iampass.audit.journal import ADMINISTRATION, MESSAGE_IDS, SESSION_LEFT_OPEN
from pam_iampass.cli import LazyGroup, group
from pam_iampass.config.schema import SCHEMA, Section
from pam_iampass.login.context import ModuleArguments
from pam_iampass.outcome import RESULTS, Outcome
from tests.support.man_page import ManPage, plain

ROOT = Path(__file__).parents[3]
GROUPS = [group]
#: The packages whose pages are made: those of gateways need their libraries.
OF: list[tuple[str, ...]] = [()]
if all(map(find_spec, ("aiohttp", "ldap", "psycopg"))):
    GROUPS.append(import_module("pam_iampass.gateway.cli").group)
    OF += [("--gateway",), ("--portal",)]


def verb_pages(of: LazyGroup) -> list[str]:
    return [f"{of.name}-{verb}.1" for verbs in of.headings.values() for verb in verbs]


PAGES = (
    *("iampass.yaml.5", "pam_iampass.8", "pam-iampass-agent.8", "pam-iampass-enforcer.8"),
    *(("gateway.yaml.5", "pam-iampass-portal.1", "portal.yaml.5") if len(OF) > 1 else ()),
    *(name for each in GROUPS for name in (f"{each.name}.1", *verb_pages(each))),
)


def made(folder: Path, epoch: str = "1795000000") -> Path:
    for options in OF:
        command = [sys.executable, "-m", "tools.docs", "man", *options, str(folder)]
        subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": epoch})
    return folder


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("man"))


def page(pages: Path, name: str) -> ManPage:
    return ManPage.of(pages / name)


@pytest.mark.needs_program("mandoc", "man", "groff")
@pytest.mark.parametrize("name", PAGES)
def test_neither_mandoc_nor_groff_finds_fault_with_a_page(pages: Path, name: str) -> None:
    lint = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "style", name], cwd=pages, capture_output=True, text=True
    )
    assert lint.stdout == ""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "MANWIDTH": "80"}
    command = ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", name]
    groff = subprocess.run(command, cwd=pages, env=environment, capture_output=True, text=True, check=True)
    assert groff.stderr == ""
    assert "\n" in groff.stdout


def test_a_page_is_the_same_whenever_it_is_made_from_the_same_sources(pages: Path, tmp_path: Path) -> None:
    again = made(tmp_path)
    for name in PAGES:
        assert (again / name).read_bytes() == (pages / name).read_bytes()
    assert " 2026-11-18 " in (pages / PAGES[0]).read_text().split("\n")[0]


# pam-iampass(1), pam-iampass-gateway(1)


def commands(group: LazyGroup = group) -> Iterator[tuple[str, click.Command, click.Context]]:
    """Every verb, and every verb of a verb, by its words."""
    top = click.Context(group, info_name=group.name)

    def below(
        command: click.Command, parent: click.Context, name: str
    ) -> Iterator[tuple[str, click.Command, click.Context]]:
        context = click.Context(command, info_name=name, parent=parent)
        yield context.command_path, command, context
        if isinstance(command, click.Group):
            for verb in command.list_commands(context):
                found = command.get_command(context, verb)
                assert found is not None
                yield from below(found, context, verb)

    for verb in group.list_commands(top):
        found = group.get_command(top, verb)
        assert found is not None
        if not found.hidden:
            yield from below(found, top, verb)


@pytest.mark.parametrize("group", GROUPS, ids=lambda each: each.name)
def test_every_option_of_every_verb_is_described_and_none_other(pages: Path, group: LazyGroup) -> None:
    for path, command, _ in commands(group):
        described = page(pages, f"{'-'.join(path.split()[:2])}.1")
        options = [
            option
            for parameter in command.params
            if isinstance(parameter, click.Option) and not parameter.hidden
            for option in (*parameter.opts, *parameter.secondary_opts)
        ]
        found = [
            option
            for term in described.terms(path)
            for option in re.findall(r"(?:^|[ /])(--?[A-Za-z][A-Za-z-]*)", term)
        ]
        assert sorted(found) == sorted(options), path
    of_all = page(pages, f"{group.name}.1")
    assert of_all.terms("Options") == ["--version", "-h, --help"]
    listed = [f"{name[:-2]}(1)" for name in verb_pages(group)]
    assert [term for heading in group.headings for term in of_all.terms(heading.upper())] == listed


@pytest.mark.parametrize("group", GROUPS, ids=lambda each: each.name)
def test_help_and_page_say_the_same(pages: Path, group: LazyGroup) -> None:
    for path, command, _ in commands(group):
        parts = page(pages, f"{'-'.join(path.split()[:2])}.1").parts()
        said = " ".join(plain(parts[path]).split())
        for paragraph in re.split(r"\n\s*\n", (command.help or "").replace("\b", "")):
            words = re.sub(r"[`*]", "", paragraph).split()
            assert " ".join(words) in re.sub(r"\.PP |\.RS 4 |\.EX |[`*]", "", said), path


# iampass.yaml(5)


@pytest.mark.needs_program("mandoc")
def test_every_setting_is_described_in_the_words_of_its_own_documentation(pages: Path) -> None:
    shown = " ".join(page(pages, "iampass.yaml.5").shown(1000).split())
    for entry in SCHEMA:
        for key in entry.keys if isinstance(entry, Section) else (entry,):
            assert " ".join(key.description.replace("`", "").split()) in shown


# pam_iampass(8)


def test_every_module_argument_is_described_and_none_other(pages: Path) -> None:
    terms = page(pages, "pam_iampass.8").terms("ARGUMENTS")
    given = [term.replace("PATH", "/etc/x.yaml") for term in terms]
    assert ModuleArguments.parse(["module", *given]).unknown == ()
    known = {field.name for field in dataclasses.fields(ModuleArguments)} - {"unknown"}
    assert sorted(term.partition("=")[0] for term in terms) == sorted(known)


@pytest.mark.needs_program("mandoc")
def test_every_outcome_is_described_with_its_message_id_and_none_other(pages: Path) -> None:
    described = page(pages, "pam_iampass.8")
    assert described.terms("OUTCOMES") == [outcome.value for outcome in Outcome]
    ids = re.findall(r"\b[0-9a-f]{32}\b", plain(described.source))
    assert sorted(ids) == sorted([*MESSAGE_IDS.values(), SESSION_LEFT_OPEN, ADMINISTRATION])
    shown = described.shown(1000)
    for outcome, results in RESULTS.items():
        said = re.search(rf"Result: ([a-z ]+)\. MESSAGE_ID: {MESSAGE_IDS[outcome]}", shown)
        assert said is not None
        assert set(said[1].split(" or ")) == {result.value for result in results}


# What else speaks of the command


def spoken_of() -> Iterator[tuple[str, list[str]]]:
    """Every `pam-iampass …` in pages for people, as words, with where it stands."""
    texts = {
        str(file.relative_to(ROOT)): file.read_text()
        for file in (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*/*.md")))
    }
    texts |= {str(file): file.read_text() for file in (ROOT / "packaging/man").glob("*.md")}
    texts |= {path: command.epilog or "" for path, command, _ in commands()}
    texts["pam-iampass"] = group.epilog or ""
    for where, text in texts.items():
        for found in re.findall(r"(?:^[ \t]*|[`|&;] ?)(?:sudo )?pam-iampass ([^\n`]*)", text, re.MULTILINE):
            words = re.split(r" {2,}|[|<>;&#]|\\$", found)[0].split()
            yield where, words


def takes_words(command: click.Command) -> bool:
    """Whether the command itself takes arguments."""
    return any(isinstance(one, click.Argument) for one in command.params)


def test_the_command_is_spoken_of_as_it_is() -> None:
    seen = 0
    for where, words in spoken_of():
        command: click.Command = group
        context = click.Context(group, info_name="pam-iampass", **group.context_settings)
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            if "|" in words[0] or words[0] in ("…", "..."):
                break
            found = command.get_command(context, words[0])
            if found is None and takes_words(command):
                break
            assert found is not None, f"{where}: pam-iampass {' '.join(words)}"
            context = click.Context(found, info_name=words[0], parent=context)
            command, words = found, words[1:]
        parameters = command.get_params(context)
        known = {option for one in parameters for option in (*one.opts, *one.secondary_opts)}
        for word in words:
            if word.startswith("-") and word != "-":
                option = word.partition("=")[0].rstrip(".,:)]")
                assert option in known, f"{where}: {context.command_path} {' '.join(words)}"
        seen += 1
    assert seen > 30
