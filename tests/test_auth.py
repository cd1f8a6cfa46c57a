"""What puts `Authorization` on a request."""

from collections.abc import Mapping
from typing import Any

import pytest

from lofty_async.auth import AccessToken, ApiKey, Auth
from lofty_async.errors import InvalidRequestError

FIXED = [(ApiKey("s3cret"), "token s3cret"), (AccessToken("s3cret"), "Bearer s3cret")]


async def no_post(url: str, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[int, Any]:
    raise AssertionError((url, form, basic))


@pytest.mark.parametrize(("auth", "header"), FIXED)
async def test_a_fixed_credential_is_always_ready_and_never_posts(auth: Auth, header: str) -> None:
    assert auth.ready() == header
    assert await auth.fetch(no_post) == header
    await auth.settle()


@pytest.mark.parametrize(("auth", "header"), FIXED)
async def test_a_fixed_credential_has_nothing_else_to_offer_once_refused(auth: Auth, header: str) -> None:
    assert await auth.renew(header, no_post) is None


@pytest.mark.parametrize(("auth", "header"), FIXED)
def test_a_secret_stays_out_of_the_repr(auth: Auth, header: str) -> None:
    assert header.split()[1] not in repr(auth)


@pytest.mark.parametrize("value", ["", "  ", "a b", "a\r\nX-Other: 1", "schlüssel", "a\x00", None, 5, b"key"])
@pytest.mark.parametrize(("kind", "argument"), [(ApiKey, "key"), (AccessToken, "token")])
def test_what_no_header_can_carry_is_refused_by_name(
    kind: type[ApiKey] | type[AccessToken], argument: str, value: Any
) -> None:
    with pytest.raises(InvalidRequestError, match=argument) as caught:
        kind(value)
    assert caught.value.argument == argument
