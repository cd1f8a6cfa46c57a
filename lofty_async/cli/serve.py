import click


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    short_help="Serve a Lofty server of our own, to try things out on.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def sandbox(context: click.Context, arguments: tuple[str, ...]) -> None:
    """Takes the options of `python -m lofty_async.sandbox`, its `--help` included."""
    from lofty_async.sandbox.command import main  # noqa: PLC0415 - keeps the server out of `--help`

    main(list(arguments), context.command_path)
