import click

from lofty_async.__about__ import __version__

from .login import login
from .read import calendar, slots, tasks, whoami
from .serve import sandbox
from .sync import sync
from .webhooks import webhooks


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lofty-async")
def app() -> None:
    """Read the Lofty CRM's tasks and calendar, and keep a local copy of them.

    The credential comes from the environment, such as LOFTY_API_KEY or LOFTY_ACCESS_TOKEN, or else from the
    command `login`; LOFTY_BASE_URL names another server. A table that goes into a pipe is one line a record, its
    cells separated by tabs. Exit codes: 0 done, 1 failed, 2 usage or credentials, 130 interrupted.
    """


for command in (sync, tasks, calendar, slots, whoami, webhooks, login, sandbox):
    app.add_command(command)
