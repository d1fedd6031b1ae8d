"""Stop the garbage collector while a worker imports its modules. `worker` imports this module first.

The objects of the modules are never garbage, and the collector's checks of them take an eighth of the imports' time.
"""

import gc

gc.disable()
