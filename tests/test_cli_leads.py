from io import BytesIO, TextIOWrapper

import click
import pytest
from click.testing import CliRunner

from lofty_async.cli.app import app
from lofty_async.cli.sync import chosen_leads


def test_without_a_choice_all_leads_are_meant() -> None:
    assert chosen_leads((), None) is None


def test_leads_are_chosen_one_by_one() -> None:
    assert chosen_leads((7, 5), None) == [7, 5]


def test_a_file_lists_one_id_a_line_with_comments_and_blanks() -> None:
    assert chosen_leads((), ["7\n", "\n", "  5  # hot\n", "# cold\n"]) == [7, 5]


@pytest.mark.parametrize("lines", [[], ["\n", "# nobody\n", "   \n"]])
def test_a_file_without_an_id_is_refused(lines: list[str]) -> None:
    with pytest.raises(click.UsageError, match="lists no lead id"):
        chosen_leads((), lines)


@pytest.mark.parametrize("line", ["abc", "0", "-3", "1.5", "7 8", "²", "9" * 20, "9" * 5000])
def test_a_line_that_is_no_id_is_named(line: str) -> None:
    with pytest.raises(click.UsageError, match=r"line 2 must be a lead id, not "):
        chosen_leads((), ["7\n", line])


def test_both_ways_at_once_are_refused() -> None:
    with pytest.raises(click.UsageError, match="exclude each other"):
        chosen_leads((7,), ["5\n"])


def test_a_long_line_is_not_shown_in_full() -> None:
    with pytest.raises(click.UsageError) as caught:
        chosen_leads((), ["9" * 5000])
    assert len(str(caught.value)) < 100


def test_a_file_that_is_no_text_is_refused() -> None:
    with pytest.raises(click.UsageError, match="UTF-8"):
        chosen_leads((), TextIOWrapper(BytesIO(b"7\n\xff\xfe\n"), encoding="utf-8"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("sync", "--jsonl", ""),
        ("sync", "--db", ""),
        ("login", "--client-id", "a", "--redirect-uri", "https://a.test/", "--token-file", ""),
    ],
)
def test_a_file_without_a_name_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert result.stderr.endswith(f"Error: {arguments[-2]} must be a file name, not ''\n")


@pytest.mark.parametrize("value", ["abc", "0", "", "9" * 5000])
def test_what_is_no_lead_id_is_named(value: str) -> None:
    for arguments, name in ((("tasks", "list", value), "LEAD"), (("sync", "--lead", value), "--lead")):
        result = CliRunner().invoke(app, arguments)
        assert (result.exit_code, result.stderr.splitlines()[-1]) == (
            2,
            f"Error: {name} must be a lead id, not {value[:40]!r}",
        )
