"""The store that `--store` or LOFTY_STORE names: where the rate limit is shared with other processes."""

from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from lofty_async._auth import hidden
from lofty_async.errors import InvalidRequestError
from lofty_async.ratelimit import FileStore, PostgresStore, RedisStore, Store

from .options import StoreOptions

REDIS: Final = ("redis://", "rediss://", "unix://")
POSTGRES: Final = ("postgres://", "postgresql://")
USABLE: Final = "use redis://HOST/0, postgresql://HOST/DATABASE, a folder or a file"
LEDGER: Final = b'{"written_at":'
"""The first bytes of a file that holds a rate limit."""


def open_store(options: StoreOptions) -> Store | None:
    """Returns the store of the options, `None` if they name none.

    Raises: InvalidRequestError if it is none that can be used.
    """
    address = hidden(options.address)
    if address is None:
        return None
    if not address:
        raise _refused(f"must not be empty; {USABLE}")
    scheme = address.partition("://")[0].lower() + "://"
    if scheme in REDIS:
        return _connecting(RedisStore.from_url, address, _app_id(options))
    if scheme in POSTGRES:
        return _connecting(lambda dsn, app_id: PostgresStore(app_id, dsn), address, _app_id(options))
    if "://" in address:
        raise _refused(f"{scheme} is no store; {USABLE}")
    path = Path(address)
    return FileStore(_app_id(options), directory=path) if path.is_dir() else SingleFileStore(path)


class SingleFileStore(FileStore):
    """A store in exactly this file, whatever the application and the server: a ledger of one's own choosing.

    Raises: InvalidRequestError if the file holds something else, which it would overwrite.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path.name, directory=path.parent)
        self.path = path
        _check_file(path)

    def for_server(self, base_url: str) -> Self:  # noqa: ARG002 - one file for all
        return self


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            begin = file.read(len(LEDGER))
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise _refused(f"{path}: there is no folder {path.parent}; make it first") from None
        return
    except OSError as error:
        raise _refused(f"{path}: {error.strerror or error}; name a file that you may write") from None
    if begin not in (b"", LEDGER):
        raise _refused(f"{path} holds something else than a rate limit; name another file")


def _connecting(store: Callable[[str, str], Store], address: str, app_id: str) -> Store:
    address = hidden(address)
    try:
        return store(address, app_id)
    except (ModuleNotFoundError, InvalidRequestError) as error:
        raise _refused(str(error)) from None


def _app_id(options: StoreOptions) -> str:
    if not options.app_id:
        known = "pass --app-id or set LOFTY_APP_ID, the app_id of the others"
        raise _refused(f"a database or a folder holds many applications: {known}")
    return options.app_id


def _refused(message: str) -> InvalidRequestError:
    return InvalidRequestError(f"--store: {message}", argument="store")
