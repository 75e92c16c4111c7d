# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test needs, where that is made of several parts."""

from contextlib import ExitStack


class Setup:
    """It is there within a ``with`` statement.  A subclass makes its parts in
    set_up(), and gives them to the stack, which ends them: the last one first,
    each of them whatever fails, and also if not all could be made."""

    _parts = None

    def set_up(self, stack):
        """Makes the parts."""
        raise NotImplementedError

    def finish(self):
        """What comes before their end if nothing has failed."""

    def __enter__(self):
        with ExitStack() as stack:
            self.set_up(stack)
            self._parts = stack.pop_all()
        return self

    def __exit__(self, kind, value, trace):
        if kind is not None:
            return self._parts.__exit__(kind, value, trace)
        with self._parts:
            self.finish()
        return None
