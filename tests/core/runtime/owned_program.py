"""A process that tells when it is ready, and waits until its owner has ended.

With an argument it says that it is ended in place of dying of SIGTERM.
"""

import os
import signal
import sys

if __name__ == "__main__":
    if sys.argv[1:]:
        signal.signal(signal.SIGTERM, lambda *_: (os.write(2, b"terminated\n"), os._exit(0)))
    os.write(2, b"ready\n")
    while True:
        signal.pause()
