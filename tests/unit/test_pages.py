"""The pages name tests and files that exist; the index is complete. (Commands: `tests/unit/tools/test_pages.py`.)"""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from tests.unit.test_architecture import FLOOR, GATEWAY

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
ATTACKS = ROOT / "tests/attacks.md"
DECISIONS = sorted((DOCS / "inside/decisions").glob("[!R]*.md"))
PAGES = [ROOT / name for name in ("README.md", "SECURITY.md", "CONTRIBUTING.md", "CHANGELOG.md")]
PAGES += sorted(DOCS.glob("**/*.md"))
LINKING = [*PAGES, ATTACKS]
DRAWINGS = sorted((DOCS / "images").glob("*.dot"))

TEST = re.compile(
    r"`(?:tests/)?((?:unit|client|sandbox|(?:gateway|portal)(?=/test_)|browser|system|pam|packages|vm)/[\w/]+(?:\.py)?)(?:::(test_\w+))?`"
)
IMAGE = re.compile(r'<img src="([^"]+)"')
LABEL = re.compile(r'\blabel="([^"]*)"')
DRAWN = re.compile(
    r"/(?:etc|run|var)/[\w./-]*\w|pam-iampass[\w@.-]*\.(?:service|socket|timer)|pam_iampass\.so"
)
LINK = re.compile(r"\]\((?!https?://)([^)#]*)(?:#([^)]*))?\)")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub and GitLab make of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_the_tests_that_a_page_names_exist(page: Path) -> None:
    for file, test in TEST.findall(page.read_text()):
        path = ROOT / "tests" / file
        assert path.exists(), f"{file} does not exist"
        assert not test or f"def {test}(" in path.read_text(), f"{file} has no {test}"


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_the_files_and_headings_that_a_page_links_to_exist(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        file = page.parent / target if target else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), f"{target} has no heading {anchor}"


SECURITY = [ROOT / "SECURITY.md", DOCS / "fleet" / "fleet-security.md"]


def test_each_attack_has_an_id_and_tests_or_a_reason_why_there_is_none() -> None:
    tables: list[str] = []
    for page in SECURITY:
        tables += re.findall(r"^\| id \|.*\n\|[-| ]+\n((?:\|.*\n)+)", page.read_text(), re.MULTILINE)
    rows = "".join(tables).splitlines()
    ids = [row.split(" ")[1] for row in rows]
    assert len(set(ids)) == len(rows) > 300
    entries = re.findall(r"^- ([A-Z]+-\d+):((?:.|\n  )+)", ATTACKS.read_text(), re.MULTILINE)
    assert [attack for attack, _ in entries] == ids
    for attack, tests in entries:
        if not re.fullmatch(r" no test\. [A-Z`].+\.", tests):
            named = re.findall(r"`.+?`", tests)
            assert named, attack
            assert [each for each in named if not TEST.fullmatch(each)] == [], attack


@pytest.mark.parametrize("page", SECURITY, ids=name)
def test_the_answers_to_attacks_can_be_read_at_once(page: Path) -> None:
    lines = page.read_text().splitlines()
    assert [line for line in lines if len(line) > 400] == []
    cells = [cell for line in lines if line.startswith("|") for cell in line.split("|")]
    assert [cell for cell in cells if len(re.findall(r"[.!?]\**(?= |$)", cell.strip())) > 2] == []


def test_the_index_is_one_screen() -> None:
    assert len((DOCS / "README.md").read_text().splitlines()) <= 30


def test_the_index_and_those_of_its_folders_link_to_every_page() -> None:
    linked, indexes = {DOCS / "README.md"}, [DOCS / "README.md"]
    for index in indexes:
        targets = {(index.parent / target).resolve() for target, _ in LINK.findall(index.read_text())}
        indexes += [
            page for page in sorted(targets - linked) if page.name == "README.md" and DOCS in page.parents
        ]
        linked |= targets
    assert [name(page) for page in PAGES if page not in linked] == []


@pytest.mark.parametrize("page", sorted((DOCS / "one-server").glob("*.md")), ids=name)
def test_a_reader_with_one_server_meets_no_gateway(page: Path) -> None:
    text = LINK.sub("]", page.read_text())
    assert [line for line in text.splitlines() if "gateway" in line.lower()] == []


def labels(drawing: Path) -> list[str]:
    """The lines that a drawing shows."""
    shown = [re.split(r"\\[ln]", label) for label in LABEL.findall(drawing.read_text())]
    return [line for lines in shown for line in lines if line]


def test_what_drawings_name_is_in_the_code() -> None:
    code = [path for room in ("pam_iampass", "packaging", "doors") for path in (ROOT / room).rglob("*")]
    units = {path.name for path in code}
    text = "\n".join(path.read_text() for path in code if path.suffix in (".py", ".socket", ".tmpfiles"))
    shown = [label for drawing in DRAWINGS for label in labels(drawing)]
    named = [found for label in shown for found in DRAWN.findall(label)]
    assert len(named) > 10
    for each in named:
        assert each in units or re.search(rf"{re.escape(each)}\b", text), f"{each} is not in the code"


@pytest.mark.parametrize("drawing", DRAWINGS, ids=name)
def test_a_picture_shows_what_its_source_says(drawing: Path) -> None:
    picture = html.unescape(drawing.with_suffix(".svg").read_text()).replace("\N{NO-BREAK SPACE}", " ")
    assert [line for line in labels(drawing) if f">{line}</text>" not in picture] == [], "make pictures"


def test_what_an_installed_page_links_to_is_installed() -> None:
    [words] = re.findall(r"^PAGES = ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [ROOT / word for word in words.replace("\\\n", " ").split()]
    pages = [page for one in named for page in (one.glob("**/*.md") if one.is_dir() else [one])]
    assert DOCS / "one-server/operations.md" in pages
    for page in (page for page in pages if page.suffix == ".md"):
        text = page.read_text()
        for target in [*(target for target, _ in LINK.findall(text)), *IMAGE.findall(text)]:
            file = (page.parent / target).resolve() if target else page
            assert {file, *file.parents} & set(named), (
                f"{name(page)} links to {target}, which is not installed"
            )


@pytest.mark.parametrize("page", DECISIONS, ids=name)
def test_a_decision_is_a_short_page_with_its_date_as_in_the_index(page: Path) -> None:
    title, empty, status, *rest = page.read_text().splitlines()
    assert title.startswith("# ")
    assert empty == ""
    assert re.fullmatch(r"Accepted, \d{4}-\d\d-\d\d\.", status)
    assert len(rest) <= 27
    listed = f"| [{title[2:]}]({page.name}) | {status[-11:-1]} |"
    assert listed in (DOCS / "inside/decisions/README.md").read_text().splitlines()


def architecture() -> str:
    return (DOCS / "inside/architecture.md").read_text()


def test_the_architecture_page_lists_the_rooms_from_top_to_bottom() -> None:
    rows = re.findall(r"^\| `pam_iampass/(.+)$", architecture(), re.MULTILINE)
    rooms = [room for row in rows for room in re.findall(r"(?:^|`)(\w+)(?:/|\.py)`", row.split(" | ")[0])]
    assert sorted(rooms) == sorted(FLOOR)
    assert [FLOOR[room] for room in rooms] == sorted(map(FLOOR.__getitem__, rooms), reverse=True)
    assert re.findall(r"^\| `(\w+)/` \|", architecture(), re.MULTILINE) == list(GATEWAY)


def test_the_architecture_page_is_short_and_so_are_its_cells() -> None:
    lines = architecture().splitlines()
    assert len(lines) <= 120
    cells = [cell for line in lines if line.startswith("|") for cell in line.split("|")]
    assert [cell for cell in cells if len(re.findall(r"\.(?= |$)", cell.strip())) > 2] == []


@pytest.mark.parametrize("page", ["architecture.md", "where-to-change.md"])
def test_the_files_that_a_page_about_the_code_names_exist(page: str) -> None:
    for line in (DOCS / "inside" / page).read_text().splitlines():
        room = re.match(r"\| `(?:pam_iampass/)?(\w+)/`", line)
        package = ROOT / "pam_iampass"
        places = [ROOT, ROOT / "tests", package, package / "gateway"]
        places += [place / room[1] for place in (package, package / "gateway") if room]
        for named in re.findall(r"`([\w@.-]+(?:/[\w@.-]+)*(?:/|\.(?:py|c|catalog|sql|md|service)))`", line):
            assert any((place / named).exists() for place in places), f"{named} is not there"
