"""Stop the garbage collector while a worker imports its modules. `worker` imports this module first.

The modules' objects are never garbage, and the collector would take an eighth of the import time to check them.
"""

import gc

gc.disable()
