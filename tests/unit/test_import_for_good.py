import subprocess
import sys

SCRIPT = """
import gc
from biolm_ray.imports import import_for_good

before = gc.get_freeze_count()
module = import_for_good("xmlrpc.client")
frozen = gc.get_freeze_count()
again = import_for_good("xmlrpc.client")
print(module.ServerProxy.__name__, again is module, gc.isenabled())
print(before, frozen > 0, gc.get_freeze_count() == frozen)
try:
    import_for_good("no_such_module")
except ModuleNotFoundError as error:
    print(error.name, gc.isenabled())
"""


def test_what_is_imported_is_kept_from_the_collector_which_goes_on_afterwards() -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=100
    )
    assert run.stdout.splitlines() == [
        "ServerProxy True True",
        "0 True True",
        "no_such_module True",
    ]
