"""A line with no limit of its own: two pseudo-terminals back to back."""

import os
import pty
import select
import threading
import tty


class Line:
    """Two pseudo-terminals back to back; what one end says, the other hears."""

    def __init__(self):
        self.masters, self.ends, self.held = [], [], []
        for _ in range(2):
            master, slave = pty.openpty()
            tty.setraw(slave)
            self.masters.append(master)
            # Held open: with nobody at an end, its other side would hang up.
            self.held.append(slave)
            self.ends.append(os.ttyname(slave))
        self.carried = [0, 0]
        for here, there in (0, 1), (1, 0):
            threading.Thread(target=self.carry, args=(here, there), daemon=True).start()

    def carry(self, here, there):
        while data := os.read(self.masters[here], 65536):
            self.carried[here] += len(data)
            while data:
                select.select([], [self.masters[there]], [])
                data = data[os.write(self.masters[there], data):]
