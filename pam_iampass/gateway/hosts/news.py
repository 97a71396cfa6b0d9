"""News for a person, such as a new passkey: their next login says so. Somebody who has taken over their sign-in, or has
talked to the help desk in their name, cannot keep it from them.

It is looked up with a start, and the session keeps it. Once the person has approved the login, and not before, its host
is told, which shows it; the record of the approval has it, too, and says up to which record that was. What was shown
once, or is a day old, is not shown any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from pam_iampass.fleet import DECLARED
from pam_iampass.text import clean

ACTS = {name: act.declared.news for name, act in DECLARED.items() if act.declared.news}
"""The records about a person that are told, and what is new then."""
TEXT, TOLD = "news", "told"
"""Names in the details of a session: the text's, and that of the id of the newest record that it is about."""
_LONGEST_NAME = 30
_MOST = 20
_NAMES = ", ".join(f"'{what}'" for what in ("user_add", *ACTS))
COLUMNS = f"""
(SELECT jsonb_agg(jsonb_build_array(id, extract(epoch FROM at)::float8, fields->>'what', fields->>'caller'))
    FROM (SELECT * FROM record WHERE record.person = %(person)s AND kind = 'act' AND fields->>'what' IN ({_NAMES})
        AND at > now() - interval '1 day' ORDER BY id DESC LIMIT {_MOST}) AS found) AS news,
(SELECT fields->>'told' FROM record WHERE record.person = %(person)s AND fields ? 'told'
    AND at > now() - interval '1 day' ORDER BY id DESC LIMIT 1) AS told
"""  # noqa: S608
"""The columns of a statement that `details` reads; `person` is the name of the person."""


def details(row: Mapping[str, Any]) -> dict[str, str]:
    """The news for this person, to be added to the details of a session."""
    said = row["told"] or ""
    told, new, newest = int(said) if said.isdecimal() else 0, dict[str, str](), 0
    found = list(row["news"] or ())
    acts = [act for _, _, act, _ in found]
    if "user_add" in acts:  # what is older was of somebody else, and the link for the first phone is no news
        del found[acts.index("user_add") :]
        first = [each for each in found if each[2] == "enroll"][-1:]
        found = [each for each in found if each not in first]
    for id, at, act, by in found:
        if id > told:
            who = f"{clean(by, _LONGEST_NAME)}, " if by else ""
            moment = datetime.fromtimestamp(at, timezone.utc)
            new.setdefault(ACTS[act], f"{ACTS[act]} ({who}{moment:%H:%M} UTC)")
            newest = max(newest, id)
    if not new:
        return {}
    text = f"New for you: {', '.join(new.values())}. If you do not know of it, tell your administrator."
    return {TEXT: text, TOLD: str(newest)}
