"""docs/reference/records.md has all that the journal can get, and nothing else."""

from __future__ import annotations

import re

from pam_iampass.audit import journal
from tools.docs import records_reference
from tools.docs.__main__ import ROOT


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/reference/records.md").read_text("utf-8") == records_reference.page()


def test_each_kind_of_record_has_an_example_and_each_field_a_description() -> None:
    found = records_reference.examples()
    catalogue = (ROOT / "packaging/systemd/pam_iampass.catalog").read_text("utf-8")
    kinds = re.findall(r"^-- ([0-9a-f]{32})$", catalogue, re.MULTILINE)
    assert {example.fields["MESSAGE_ID"] for example in found} == set(kinds)
    fields = {name for example in found for name in example.fields if not name.startswith("SYSLOG_")}
    assert fields == set(records_reference.FIELDS)
    assert all(example.fields["SYSLOG_IDENTIFIER"] == journal.IDENTIFIER for example in found)


def test_no_field_of_the_catalogue_is_unknown() -> None:
    catalogue = (ROOT / "packaging/systemd/pam_iampass.catalog").read_text("utf-8")
    assert set(re.findall(r"@([A-Z_]+)@", catalogue)) <= set(records_reference.FIELDS)


def test_the_gateway_has_the_texts_of_the_alerts() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "pam_iampass/gateway").rglob("*.py"))
    assert [text for texts in records_reference.ALERTS for text in texts if text not in source] == []


def test_what_to_alert_on_is_in_records() -> None:
    """Each first cell selects records."""
    rows = re.findall(
        r"^\| (.*?) \|",
        records_reference.page().split("## What to alert on")[1].split("\n\n")[1],
        re.MULTILINE,
    )
    found = [example.fields for example in records_reference.examples()]
    for row in rows[2:]:
        for name, value in re.findall("`([A-Z_]+)=([a-z0-9_]+)`", row):
            assert any(fields.get(name) == value for fields in found), row
