import sys

try:
    from lofty_async.cli import main

    main("sandbox", "python -m lofty_async.sandbox")
except KeyboardInterrupt:
    sys.exit(130)
