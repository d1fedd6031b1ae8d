"""Stop the garbage collector while a service imports its modules. Each `__main__` imports this module first.

Imports create objects that live as long as the process. Looking for garbage among them takes an eighth of the imports'
time. `svgx_common.runtime.run` starts the collector again.
"""

import gc

gc.disable()
