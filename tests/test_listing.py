"""What every listing is made of."""

from typing import Any

import pytest
from lofty_async.listing import part

from lofty_async.errors import DecodeError


class TestPart:
    @pytest.mark.parametrize(
        ("body", "path", "value"),
        [
            ({"data": {"id": 5}}, ("data", "id"), 5),
            ({"data": None}, ("data", "id"), None),
            ({}, ("data", "id"), None),
            (None, ("data",), None),
            ([1], (), [1]),
        ],
    )
    def test_is_what_stands_at_the_path_or_none(self, body: Any, path: tuple[str, ...], value: Any) -> None:
        assert part(body, path, "GET /x") == value

    @pytest.mark.parametrize(
        ("body", "path", "place"), [([], ("data",), "the answer"), ({"a": {"b": 5}}, ("a", "b", "c"), "a.b")]
    )
    def test_names_what_is_no_object(self, body: Any, path: tuple[str, ...], place: str) -> None:
        with pytest.raises(DecodeError) as caught:
            part(body, path, "GET /x")
        assert (caught.value.path, caught.value.request) == (place, "GET /x")
