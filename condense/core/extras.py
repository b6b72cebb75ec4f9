"""Packages that only a part of the toolkit needs: imported where they are used; one line says which one is missing."""

from importlib import import_module
from types import ModuleType

from condense.core.errors import InputError


def needed(module: str, package: str, what: str) -> ModuleType:
    """Import and return `module` of the distribution `package`; raises InputError, naming it, where it is not here.

    `what` says what needs it.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != module.split(".")[0]:        # it is here, and lacks something itself
            raise
        raise InputError(f"{what} needs a package that is not here: pip install {package}") from None
