"""Parts of the reference that the package itself knows: its calls, the fields of its models, its commands."""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from inspect import getdoc
from pathlib import Path
from typing import Any, ClassVar

import attrs
import click
from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from lofty_async.cli.app import app as command_line

ENDPOINTS = "lofty_async.endpoints"

CALLS: dict[str, str] = {
    "GET /v2.0/tasks": "Tasks.list",
    "POST /v2.0/tasks": "Tasks.create",
    "GET /v2.0/tasks/{taskId}": "Tasks.get",
    "PUT /v2.0/tasks/{taskId}": "Tasks.update",
    "DELETE /v2.0/tasks/{taskId}": "Tasks.delete",
    "POST /v2.0/tasks/{taskId}/finish": "Tasks.finish",
    "POST /v2.0/tasks/{taskId}/unfinish": "Tasks.unfinish",
    "GET /v2.0/tasks/my-tasks": "Tasks.mine",
    "GET /v2.0/calendar": "Calendar.list",
    "POST /v2.0/calendar": "Calendar.create",
    "PUT /v2.0/calendar/{calendarId}": "Calendar.update",
    "DELETE /v2.0/calendar/{calendarId}": "Calendar.delete",
    "POST /v2.0/calendar/{calendarId}/finish": "Calendar.finish",
    "POST /v2.0/calendar/{calendarId}/unfinish": "Calendar.unfinish",
    "GET /v2.0/calendar/meetings/available": "Calendar.slots",
    "GET /v1.0/leads": "Leads.list",
    "GET /v1.0/me": "LoftyClient.me",
    "GET /v1.0/webhooks": "Webhooks.list",
    "POST /v1.0/webhook": "Webhooks.create",
    "DELETE /v1.0/webhook/{subscribeId}": "Webhooks.delete",
    "GET /v1.0/tasks": "TasksV1.list",
    "POST /v1.0/tasks": "TasksV1.create",
    "GET /v1.0/tasks/{taskId}": "TasksV1.get",
    "PUT /v1.0/tasks/{taskId}": "TasksV1.update",
    "DELETE /v1.0/tasks/{taskId}": "TasksV1.delete",
    "GET /v1.0/appts": "AppointmentsV1.list",
}
"""Each request of the API, and the method that sends it."""

WRITTEN = {
    "Tasks": "lofty.tasks",
    "Calendar": "lofty.calendar",
    "Leads": "lofty.leads",
    "Webhooks": "lofty.webhooks",
    "TasksV1": "lofty.v1.tasks",
    "AppointmentsV1": "lofty.v1.appointments",
    "LoftyClient": "lofty",
}
"""How a program writes the object that has a class's methods."""


def target(method: str) -> str:
    """The full name of a method, as the reference has it."""
    return f"{'lofty_async' if method.startswith('LoftyClient') else ENDPOINTS}.{method}"


def written(method: str) -> str:
    """The call as a program writes it: `lofty.tasks.get`."""
    kind, _, name = method.partition(".")
    return f"{WRITTEN[kind]}.{name}"


ROUTES = {target(method): request for request, method in CALLS.items()}


def find(name: str) -> Any:
    """The object with a dotted name."""
    module, _, rest = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), rest)
    except ModuleNotFoundError:
        return getattr(find(module), rest)


def first_sentence(thing: object) -> str:
    """The first sentence of a docstring, on one line."""
    text = " ".join((getdoc(thing) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.;])\s", text)[0].rstrip(".;")


class Generated(SphinxDirective, ABC):
    """A directive whose content is reStructuredText that a function writes."""

    optional_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(__file__)
        # The pages are Markdown.
        text = ["````{eval-rst}", *self.lines(), "````"]
        holder = nodes.container()
        holder.document = self.state.document
        self.state.nested_parse(StringList(text, source=__file__), self.content_offset, holder)
        return holder.children

    @abstractmethod
    def lines(self) -> Iterable[str]:
        """The lines that stand in the directive's place."""


def table(kind: str, widths: str, rows: Iterable[Iterable[str]]) -> Iterable[str]:
    """A list-table; its first row is the header."""
    yield from (".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", f"   :class: {kind}", "")
    for row in rows:
        for number, cell in enumerate(row):
            yield f"   {'  ' if number else '* '}- {cell}"
    yield ""


class Calls(Generated):
    """The table of all requests of the API."""

    def lines(self) -> Iterable[str]:
        rows = [("Request", "Method", "")]
        rows += [
            (f"``{request}``", f":py:meth:`{written(method)} <{target(method)}>`", first_sentence(find(target(method))))
            for request, method in CALLS.items()
        ]
        return table("calls", "40 25 35", rows)


class Fields(Generated):
    """A class with its fields and their types."""

    def lines(self) -> Iterable[str]:
        return (f".. autoclass:: {self.arguments[0]}()", "   :no-members:", "")


def table_of_fields(kind: type) -> Iterable[str]:
    """The fields and their types of a class of values, or those that an exception adds to its bases."""
    is_error = issubclass(kind, BaseException)
    is_value = kind.__hash__ not in {None, object.__hash__}
    if not ("__attrs_attrs__" in vars(kind) and (is_error or is_value)):
        return ()
    shown = [one for one in attrs.fields(kind) if not one.name.startswith("_") and not (is_error and one.inherited)]
    rows = [(f"``{one.name}``", f"``{type_name(one.type)}``") for one in sorted(shown, key=lambda one: one.inherited)]
    return ("", *table("fields", "40 60", [("Field", "Type"), *rows])) if rows else ()


def type_name(annotation: object) -> str:
    """A type as a program writes it, without modules."""
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", None)
    if text is None or "[" in str(annotation) or "|" in str(annotation):
        text = str(annotation)
    return re.sub(r"\b(?:\w+\.)+(?=\w)|~", "", str(text)).replace("NoneType", "None")


class CommandHelp(Generated):
    """The output of `--help` of each command and group of commands."""

    def lines(self) -> Iterable[str]:
        sizes = {"terminal_width": 78, "max_content_width": 78} | command_line.context_settings
        for context in contexts(click.Context(command_line, info_name="lofty-async", **sizes)):
            yield from (f".. rubric:: {context.command_path}", "", ".. code-block:: text", "")
            yield from (f"   {line}".rstrip() for line in context.get_help().splitlines())
            yield ""


def contexts(context: click.Context) -> Iterable[click.Context]:
    yield context
    if isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            yield from contexts(click.Context(command, context, name))


class Diagram(SphinxDirective):
    """An SVG as a part of the page, so that it takes the colours of the page's theme."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Callable[[str], Any]]] = {"alt": directives.unchanged_required}

    def run(self) -> list[nodes.Node]:
        name, path = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(name)
        svg = re.sub(r"^.*?(?=<svg)", "", Path(path).read_text(encoding="utf-8"), flags=re.DOTALL)
        label = nodes.unescape(self.options["alt"]).replace('"', "&quot;")
        html = f'<figure class="diagram" role="img" aria-label="{label}">{svg}</figure>'
        return [nodes.raw("", html, format="html")]


WITHOUT_SIGNATURE: set[str] = set()
"""Classes that users do not build: a page names them with `()`."""


def note_signature(_app: Sphinx, _kind: str, name: str, _thing: object, _options: object, *given: str) -> None:
    if given[0] == "()":
        WITHOUT_SIGNATURE.add(name)


def describe(_app: Sphinx, _kind: str, name: str, thing: object, _options: object, lines: list[str]) -> None:
    """Puts a method's request on top of its description and a class's fields below it, and turns fences into blocks."""
    if isinstance(thing, type) and name in WITHOUT_SIGNATURE:
        lines += table_of_fields(thing)
    request = ROUTES.get(name)
    if request:
        lines[:0] = [f"``{request}``", ""]
    while "```python" in lines:
        start = lines.index("```python")
        end = lines.index("```", start)
        lines[start : end + 1] = [".. code-block:: python", "", *("   " + line for line in lines[start + 1 : end])]


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("api-calls", Calls)
    app.add_directive("model-fields", Fields)
    app.add_directive("command-help", CommandHelp)
    app.add_directive("diagram", Diagram)
    app.connect("autodoc-process-signature", note_signature)
    app.connect("autodoc-process-docstring", describe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
