"""Who may call."""

from attrs import define, field

from . import refusals


@define
class Credentials:
    """API keys and access tokens, and the one word that each kind is sent with."""

    keys: set[str] = field(factory=set[str])
    tokens: dict[str, float] = field(factory=dict[str, float])
    """Access tokens, with the moment (epoch seconds) from which they are refused."""
    revoked: set[str] = field(factory=set[str])

    out_of_scope: set[str] = field(factory=set[str])
    """Calls, such as `GET /v2.0/calendar`, for which the application lacks the scope."""

    def check(self, header: str | None, now: float) -> None:
        """Lets a good credential pass.

        Raises: Refusal 401 for an unknown or expired one, 400/200058 for the wrong word or a revoked one.
        """
        word, _, credential = (header or "").partition(" ")
        if credential in self.revoked:
            raise refusals.wrong_scheme()
        if credential not in self.keys and self.tokens.get(credential, 0.0) <= now:
            raise refusals.bad_credentials()
        if word != ("token" if credential in self.keys else "Bearer"):
            raise refusals.wrong_scheme()

    def check_scope(self, label: str) -> None:
        """Lets a call within the scope pass.

        Raises: Refusal 403/200100.
        """
        if label in self.out_of_scope:
            raise refusals.missing_scope()

    def revoke(self, credential: str) -> None:
        self.revoked.add(credential)
