"""Calls to an image store, written into the history of what may be on its disk."""

# A tag that no registry has: PATH:TAG -> the image that gets it.
GIVEN = {"base:given": "base:1", "other:given": "other:1"}


class Calls:
    """`clock`: what the history's begins and ends are counted in."""

    def __init__(self, node, registry, history, clock):
        self.node, self.registry, self.history, self.clock = node, registry, history, clock

    def _do(self, removes, names, call, *arguments):
        begun = [self.history.begin(removes, name, self.clock()) for name in names]
        call(*arguments)
        for one in begun:
            one.end = self.clock()

    def pull(self, name):
        self._do(False, [name], self.node.pull, self.registry.ref(name))

    def tag(self, name):
        """Gives the tag to its image, which must be there."""
        self._do(False, [name], self.node.tag, self.registry.ref(GIVEN[name]), self.registry.ref(name))

    def remove(self, name):
        self._do(True, [name], self.node.remove, self.registry.ref(name))

    def prune(self):
        """Removes all images. No other call may be under way."""
        self._do(True, self.history.ids, self.node.prune)
