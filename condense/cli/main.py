"""The only place that exits: turns errors into one line, defects into a traceback, and outcomes into exit codes."""

import logging
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from condense.cli.parsing import parse
from condense.core.errors import Finished, Interrupted, UserError
from condense.core.journal import log_to_terminal
from condense.core.torch_private import is_out_of_memory

log = logging.getLogger("condense")

REPORT = "this is a defect of the toolkit, not of your command: please report it with the lines above"
MEMORY_MEND = "lower --chunk or --batch_real, or use a machine with more memory"


def command_line(main: Callable[[Any], object], config_class: type[Any], description: str | None,
                 argv: Sequence[str] | None = None, defaults: Mapping[str, Any] | None = None) -> None:
    """Parse `argv` into `config_class`, where `defaults` replace some of its own, call `main(cfg)` and exit.

    Exit code 0: done; 2: something that the user can mend, said in one line (with a traceback under --debug); 1: a
    defect of ours, with its traceback, also written to an open journal; 128 + n: stopped by signal n.
    """
    log_to_terminal()
    debug = "--debug" in (sys.argv if argv is None else argv)
    try:
        main(parse(config_class, argv, description, defaults))
    except Finished as done:
        print(done)
    except Interrupted as stop:
        _leave(str(stop), 128 + stop.signal)
    except KeyboardInterrupt:
        _leave("stopped", 130)
    except (UserError, OSError, MemoryError) as error:     # the machine's own refusals are the user's to mend, too
        if debug:
            raise
        _leave(f"error: {' '.join(str(error).split()) or type(error).__name__}", 2)
    except Exception as error:
        if is_out_of_memory(error) and not debug:
            _leave(f"error: out of memory ({str(error).splitlines()[0]}); {MEMORY_MEND}", 2)
        log.critical("%s%s", traceback.format_exc(), REPORT)
        sys.exit(1)


def _leave(line, code):
    print(line, file=sys.stderr)
    sys.exit(code)
