"""`primesvc serve`, and `primesvc` alone."""

import argparse

from primesvc import logs
from primesvc.cli.exits import Exit, complain
from primesvc.errors import InvalidSetting, SetupError
from primesvc.settings import Settings


def serve(options: argparse.Namespace) -> Exit:
    """Serve until a signal says stop."""
    try:
        settings = Settings.read(vars(options))
    except InvalidSetting as error:
        return complain(error, Exit.USAGE)
    logs.configure(settings.log_format)
    # Imported here: a wrong setting needs no HTTP to be wrong.
    from primesvc.server import AddressUnusable, run

    try:
        run(settings)
    except (AddressUnusable, SetupError) as error:
        return complain(error, Exit.USAGE)
    return Exit.OK
