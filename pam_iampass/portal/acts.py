"""Carrying out an act with a form."""

from __future__ import annotations

import io
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import segno
from aiohttp import web
from markupsafe import Markup, escape

from pam_iampass.fleet.act import Declaration
from pam_iampass.portal.calls import BeginAct, BeginPasskey, DoAct, RingForAct, WaitForPhone
from pam_iampass.portal.gateway import GatewayError
from pam_iampass.portal.offers import OFFERS, REQUEST, Outcome, outcome, read
from pam_iampass.portal.shown import moment, name
from pam_iampass.portal.sign_in import answered, json_object, rung
from pam_iampass.portal.visit import SETTINGS, Visit, form_of, local_address, page
from pam_iampass.portal.words import SHOWN_BEFORE


def _offer_of(request: web.Request) -> Declaration:
    """The act that is named in the address. Raises HTTPNotFound."""
    offer = OFFERS.get(request.match_info["act"])
    if offer is None:
        raise web.HTTPNotFound
    return offer


async def challenge(request: web.Request, visit: Visit) -> web.Response:
    """Answer with the challenge that a passkey signs for this one form."""
    offer, form = _offer_of(request), await form_of(request)
    begun = await visit.call(BeginAct(visit.token, offer.name, read(offer, form), form.get("once", "")))
    return web.json_response({"options": begun.options})


async def new_passkey(request: web.Request, visit: Visit) -> web.Response:
    """Answer with the options from which the browser makes a further passkey."""
    return web.json_response({"options": (await visit.call(BeginPasskey(visit.token))).options})


async def ring(request: web.Request, visit: Visit) -> web.Response:
    """Have the person's own phone asked."""
    return rung(await visit.call(RingForAct(visit.token, _offer_of(request).name, visit.remote)))


async def wait(request: web.Request, visit: Visit) -> web.Response:
    """Answer whether the request on the phone was approved. A script asks again until this is known."""
    return answered(await visit.call(WaitForPhone(visit.token, (await form_of(request)).get("phone", ""))))


async def perform(request: web.Request, visit: Visit) -> web.Response:
    """Carry out an act; a page that says what has come of it. What it shows once is shown nowhere else."""
    offer, form = _offer_of(request), await form_of(request)
    parameters = read(offer, form)
    touch = json_object(form["touch"]) if form.get("touch") else None
    once, phone = form.get("once", ""), form.get("phone") or None
    answer = await visit.call(DoAct(visit.token, offer.name, parameters, once, visit.remote, touch, phone))
    result = answer.result
    person, given = parameters.get("person"), {**parameters, REQUEST: form.get(REQUEST)}
    was_shown = answer.repeated and None in result.values()
    return page(
        request,
        "result.html",
        outcome=Outcome(SHOWN_BEFORE.title, escape(SHOWN_BEFORE.title), SHOWN_BEFORE.says)
        if was_shown
        else outcome(offer, result, given, is_own=person == visit.person, name=name, moment=moment),
        answer=offer.answer(result) if offer.answer else None,
        is_done=not was_shown,
        repeated=answer.repeated,
        whose=person or visit.person,
        origin=request.app[SETTINGS].origin,
        now=datetime.now(timezone.utc),
        back=local_address(form.get("back", "")),
        codes_on=await _codes_on(visit) if offer.name == "code_for_lost_phone" else None,
        **_shown(result),
    )


async def _codes_on(visit: Visit) -> Mapping[bool, list[str]]:
    """The groups of hosts on which the reader may log in, by whether these hosts accept recovery codes. None is named
    if the gateway does not say it: the code itself is shown only now."""
    found: dict[bool, list[str]] = {True: [], False: []}
    with suppress(GatewayError):
        for row in (await visit.view("may", person=visit.person)).rows:
            found[row["codes"]].append(row["group"])
    return found


def _shown(result: Mapping[str, Any]) -> dict[str, Any]:
    url = result.get("url")
    qr = qr_code(url) if url else ""
    return {"codes": result.get("codes", ()), "url": url, "qr": qr}


def qr_code(text: str) -> Markup:
    """A QR code as SVG, without styles, which a page may not have."""
    drawn = io.BytesIO()
    segno.make(text, micro=False).save(
        drawn, kind="svg", xmldecl=False, omitsize=True, light="#fff", svgclass=None
    )
    return Markup(drawn.getvalue().decode())  # noqa: S704 - segno has drawn it
