"""The vendor's own description of the API, to hold requests and answers against, where it is there."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

import jsonschema
from attrs import field, frozen

from lofty_async.sandbox import RequestRecord

PLACE = (Path(__file__).parents[1] / "../shared/contract/openapi.json").resolve()


def tolerant(schema: Any) -> Any:
    """The schema with every field nullable: the vendor marks none, and any may be null."""
    if isinstance(schema, list):
        return [tolerant(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    loose = {name: tolerant(part) for name, part in schema.items() if name not in ("enum", "example")}
    if isinstance(loose.get("type"), str):
        loose["type"] = [loose["type"], "null"]
    return loose


def from_text(text: str) -> Any:
    """The value that a query parameter stands for."""
    return json.loads(text) if text in ("true", "false") or text.isdecimal() else text


@frozen(eq=False)
class Description:
    """The vendor's description, to hold requests and answers against."""

    # The event loop's own messages print fixtures; a document of this size takes milliseconds each time.
    strict: Mapping[str, Any] = field(repr=False)
    loose: Mapping[str, Any] = field(repr=False)

    @classmethod
    @cache
    def load(cls) -> Self | None:
        """The description, `None` where there is none."""
        if not PLACE.is_file():
            return None
        strict = json.loads(PLACE.read_text(encoding="utf-8"))
        return cls(strict, tolerant(strict))

    @property
    def routes(self) -> set[str]:
        paths = self.strict["paths"]
        return {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}

    def parameters(self, route: str) -> set[str]:
        """The names of the parameters in the query."""
        return {one["name"] for one in self._call(self.strict, route).get("parameters", ()) if one["in"] == "query"}

    def fields(self, route: str) -> set[str]:
        """The names of the body's fields; none where there is no body."""
        call = self._call(self.strict, route)
        return set(self._of_body(call)["properties"]) if "requestBody" in call else set()

    def schema(self, name: str) -> dict[str, Any]:
        """The properties of a record."""
        return dict(self.strict["components"]["schemas"][name]["properties"])

    def check_request(self, request: RequestRecord) -> None:
        """Known parameters of the right type, all that are required, and a body where there is to be one."""
        call = self._call(self.strict, request.route)
        parameters = {one["name"]: one for one in call.get("parameters", ()) if one["in"] == "query"}
        required = {name for name, one in parameters.items() if one.get("required")}
        assert required <= request.query.keys() <= parameters.keys()
        for name, text in request.query.items():
            schema = parameters[name]["schema"]
            jsonschema.validate(text if schema["type"] == "string" else from_text(text), schema)
        assert request.headers.keys() >= {"Authorization", "Content-Type"}
        assert bool(request.body) == ("requestBody" in call)
        if request.body:
            schema = self._of_body(call)
            if request.method == "PUT":  # one schema serves create and update, but an update is partial
                schema.pop("required", None)
            jsonschema.validate(request.json(), schema)
            assert request.json().keys() <= schema["properties"].keys()

    def check(self, route: str, body: Any) -> None:
        """A good answer's body; `None` for an empty one."""
        validator = self._answer_validator(route)
        if validator is None:
            assert body is None, f"{route} answers with an empty body"
        else:
            validator.validate(body)

    @cache  # noqa: B019 - there is one description
    def _answer_validator(self, route: str) -> Any:
        answer = self._call(self.loose, route)["responses"]["200"]
        # jsonschema.validate would check the whole description against its own schema each time.
        return jsonschema.Draft202012Validator(self._schema(self.loose, answer)) if "content" in answer else None

    def _call(self, document: Mapping[str, Any], route: str) -> Any:
        method, path = route.split()
        return document["paths"][path][method.lower()]

    def _of_body(self, call: Mapping[str, Any]) -> dict[str, Any]:
        return self._resolved(self._schema(self.strict, call["requestBody"]))

    def _schema(self, document: Mapping[str, Any], holder: Mapping[str, Any]) -> Any:
        return next(iter(holder["content"].values()))["schema"] | {"components": document["components"]}

    def _resolved(self, schema: Any) -> dict[str, Any]:
        name = schema["$ref"].rpartition("/")[2]
        return dict(self.strict["components"]["schemas"][name]) | {"components": schema["components"]}
