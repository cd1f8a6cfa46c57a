"""Files that one process of a machine locks at a time; a lock ends with its process, however that ends."""

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None  # type: ignore[assignment]  # the module or nothing


def try_lock(file: int) -> bool:
    """Lock the file of this number, unless another process has.

    Raises: OSError where the platform or the file system has no locks.
    """
    if fcntl is None:
        raise OSError("this platform has no file locks")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def try_lock_if_possible(file: int) -> bool:
    """The same where going on is better than giving up: without locks, nobody is kept out."""
    try:
        return try_lock(file)
    except OSError:
        return True


def unlock(file: int) -> None:
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_UN)
