"""A process that tells when it is ready, and waits until its owner has ended.

With an argument it is to be ended gently; it then says so in place of dying of SIGTERM.
"""

import os
import signal
import sys

from tasks.core.runtime.owned_processes import end_with_owner

if __name__ == "__main__":
    if sys.argv[1:]:
        signal.signal(signal.SIGTERM, lambda *_: (os.write(2, b"terminated\n"), os._exit(0)))
    end_with_owner(gently=bool(sys.argv[1:]))
    os.write(2, b"ready\n")
    while True:
        signal.pause()
