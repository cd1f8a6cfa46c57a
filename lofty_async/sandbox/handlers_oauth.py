"""Both token endpoints and the authorise page; none of them spends the API's budget."""

from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from aiohttp import hdrs, web
from attrs import frozen

from . import refusals
from .grants import Form, GrantRefused, Grants
from .refusals import json_answer

FORM = "application/x-www-form-urlencoded"
OPEN_CALLS = frozenset({"POST /api/user-web/oauth/token", "POST /oauth/token", "GET /page/vendor-auth.html"})
"""Calls that need no credential of the API."""

Redeem = Callable[[Form], dict[str, Any]]


@frozen
class OAuthHandlers:
    """Endpoint A of crm.lofty.com, endpoint B of api.lofty.com, the page of lofty.com: all on one server."""

    grants: Grants

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/user-web/oauth/token", self.token_a),
            web.post("/oauth/token", self.token_b),
            web.get("/page/vendor-auth.html", self.authorise, allow_head=False),
        ]

    async def token_a(self, request: web.Request) -> web.Response:
        """Client id and secret in HTTP Basic; a code or a refresh token in the form."""
        grants: Mapping[str, Redeem] = {
            "authorization_code": self._named_code,
            "refresh_token": self.grants.redeem_refresh_token,
        }
        try:
            self.grants.check_client(*_basic(request))
            return _tokens(grants, await _form(request))
        except GrantRefused as refused:
            return _refused(refused)

    async def token_b(self, request: web.Request) -> web.Response:
        """Client id and secret in the form, or no secret where a verifier is given, or a refresh token for one."""
        grants: Mapping[str, Redeem] = {
            "authorization_code": self.grants.redeem_code,
            "client_credentials": self.grants.redeem_customer_key,
        }
        try:
            form = await _form(request)
            self._check_client(form)
            if "client_secret" not in form:  # applications with a secret renew at the other endpoint
                grants = {**grants, "refresh_token": self.grants.redeem_refresh_token}
            return _tokens(grants, form)
        except GrantRefused as refused:
            return _refused(refused)

    async def authorise(self, request: web.Request) -> web.Response:
        """Leads back at once, as if the user had decided: `code` or `error`, and the given `state`."""
        query = request.query
        target = query.get("redirect_uri") or self.grants.redirect_uri
        if query.get("clientId") != self.grants.client_id or not target or not _is_url(target):
            raise refusals.PageRefusal(400, 400, "<html><body>Unknown application or address</body></html>")
        state = {"state": query["state"]} if "state" in query else {}
        location = _with_query(target, self._decision(query, target) | state)
        return web.Response(status=302, headers={hdrs.LOCATION: location})

    def _decision(self, query: Mapping[str, str], target: str) -> dict[str, str]:
        if self.grants.deny:
            return {"error": "access_denied"}
        method = query.get("code_challenge_method", "plain")
        return {"code": self.grants.authorise(target, query.get("code_challenge"), method)}

    def _named_code(self, form: Form) -> dict[str, Any]:
        if form.get("client_id") != self.grants.client_id:
            raise GrantRefused("invalid_request")
        return self.grants.redeem_code(form)

    def _check_client(self, form: Form) -> None:
        proves_by_verifier = form.get("grant_type") == "authorization_code" and form.get("code_verifier")
        is_public = proves_by_verifier or form.get("grant_type") == "refresh_token"
        secret = form.get("client_secret", self.grants.client_secret if is_public else "")
        self.grants.check_client(form.get("client_id", ""), secret)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:  # half of an IPv6 address, a port that is no number
        return False
    return bool(parts.scheme)


def _with_query(url: str, added: Mapping[str, str]) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode(parse_qsl(parts.query) + list(added.items()))))


def _tokens(grants: Mapping[str, Redeem], form: Form) -> web.Response:
    redeem = grants.get(form.get("grant_type", ""))
    if redeem is None:
        raise GrantRefused("unsupported_grant_type")
    return json_answer(redeem(form))


def _refused(refused: GrantRefused) -> web.Response:
    return json_answer({"error": refused.code, "error_description": "The grant was refused"}, refused.status)


async def _form(request: web.Request) -> Form:
    if request.content_type != FORM:
        raise GrantRefused("invalid_request")
    try:
        text = (await request.read()).decode(request.charset or "utf-8")
        return dict(parse_qsl(text, keep_blank_values=True, errors="strict"))
    except (LookupError, ValueError):  # a charset that does not exist, or another than the text's
        raise GrantRefused("invalid_request") from None


def _basic(request: web.Request) -> tuple[str, str]:
    word, _, encoded = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    try:
        client_id, _, secret = b64decode(encoded, validate=True).decode().partition(":")
    except ValueError:  # neither ASCII nor base64, or no text
        raise GrantRefused("invalid_client", 401) from None
    if word != "Basic":
        raise GrantRefused("invalid_client", 401)
    return client_id, secret
