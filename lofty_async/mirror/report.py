from attrs import frozen


@frozen
class LeadFailure:
    """A lead whose tasks could not all be read, and why."""

    lead_id: int
    error: str


@frozen(kw_only=True)
class SyncReport:
    """What a run did, or has done so far.

    `leads` counts the leads that were asked for, but for those that proved to be gone; `failed` names those of
    them that could not be read, or not wholly. `tasks` counts what was read. `skipped` counts the leads that
    the run resumed had done already. `added`, `changed` and `removed` count rows of the store. `rate_limited`
    counts the requests refused for want of budget (429), `waited_s` is the seconds in which calls waited for
    their turns; `seconds` what the run took. `complete` unless cut short. `total` leads are to be read, as far
    as known.
    """

    leads: int = 0
    tasks: int = 0
    failed: tuple[LeadFailure, ...] = ()
    skipped: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    requests: int = 0
    rate_limited: int = 0
    waited_s: float = 0.0
    seconds: float = 0.0
    complete: bool = False
    total: int | None = None
