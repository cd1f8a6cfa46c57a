import sys

try:
    from .command import main

    main()
except KeyboardInterrupt:
    sys.exit(130)
