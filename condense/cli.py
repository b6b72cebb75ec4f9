"""The only place that exits: turns errors into one line, and outcomes into exit codes."""

import sys

from condense.options import OptionError, parse, with_forms
from condense.runtime import Run
from condense.stopping import Finished, Interrupted
from condense.synthetic import PARAMETERIZATIONS


def run_script(main, config_class, description, argv=None):
    """Parse the command line into `config_class`, call `main(cfg)` and exit.

    Exit code 0: done; 2: something to mend before the work can start; 1: the work failed under way;
    128 + n: stopped by signal n. Errors are one line, with a traceback only under --debug.
    """
    debug = "--debug" in (sys.argv if argv is None else argv)
    Run.latest = None
    try:
        main(parse(with_forms(config_class, PARAMETERIZATIONS), argv, description))
    except OptionError as error:
        _leave(error, 2, debug)
    except Finished as done:
        print(done)
    except Interrupted as stop:
        _leave(stop, 128 + stop.signal, False)
    except KeyboardInterrupt:
        _leave("stopped", 130, False)
    except Exception as error:
        running = Run.latest is not None and Run.latest.running
        _leave(error, 1 if running else 2, debug)


def _leave(error, code, debug):
    if debug:
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, Exception) and not isinstance(error, (ValueError, OSError, RuntimeError)):
        text = f"{type(error).__name__}: {text} (--debug shows where)"
    print(f"error: {text}" if isinstance(error, Exception) else text, file=sys.stderr)
    sys.exit(code)
