"""Imports of large libraries, in processes of our own."""

import gc
import sys
from importlib import import_module
from types import ModuleType


def import_for_good(name: str) -> ModuleType:
    """Import a module, and keep the garbage collector from it and all that it imports.

    Modules stay as long as the process does, but make so many objects that the collector looks
    through them again and again, which takes a good part of the time to import torch and Ray.
    Whatever else exists then is never collected, too, so this is for the beginning of a process of
    our own. A module that is there already is given as it is.
    """
    if name in sys.modules:
        return sys.modules[name]
    gc.disable()
    try:
        return import_module(name)
    finally:
        gc.freeze()
        gc.enable()
