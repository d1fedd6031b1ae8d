"""Stop the garbage collector while a worker imports its modules. `worker` imports this module first.

Looking for garbage among objects that live as long as the process takes an eighth of the imports' time.
"""

import gc

gc.disable()
