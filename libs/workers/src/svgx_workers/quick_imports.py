"""Stop the garbage collector before a worker imports its modules. `worker` imports this module first.

The modules' objects are never garbage, and the collector would take an eighth of the import time to check them. The
automatic collection stays off afterwards (see `worker.main`).
"""

import gc

gc.disable()
