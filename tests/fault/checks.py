"""What must hold on a disk after its power was cut."""
import os
import pathlib
import time

from calls import GIVEN
from disk import attached
from node import Failed
from tree import differences


class Checker:
    """`new_node(root)` makes the daemon that looks at the disk; `whole`: name -> the image's tree as it must be."""

    def __init__(self, registry, new_node, whole):
        self.registry, self.new_node, self.whole = registry, new_node, whole
        # How much was compared: a check of nothing finds nothing.
        self.images = self.files = 0

    def problems(self, disk, expected, thorough=False, spoil=False):
        """The lines of what is wrong with the disk in the file `disk`, which this changes. `thorough`: in the end all
        images are removed, and nothing may stay. `spoil`: something is broken before, and must be found."""
        directory = f"{disk}.mounted"
        with attached(disk, directory):
            if spoil:
                spoil_largest(f"{directory}/root/images/layers")
            node = self.new_node(f"{directory}/root")
            try:
                node.start()
                return list(self._all(node, expected, thorough))
            except (AssertionError, Failed, OSError) as error:
                return [f"{error}\n{node.log_tail()}"]
            finally:
                node.stop()

    def _all(self, node, expected, thorough):
        tags = {i: {t.removeprefix(f"{self.registry.address}/") for t in found} for i, found in node.images().items()}
        yield from self._tags(tags, expected)
        listed = sorted(name for names in tags.values() for name in names if name in self.whole)
        yield from self._files(node, listed)
        yield from self._no_leftovers(node, False)
        # What the cut left must not stand in the way of the next pull.
        absent = sorted(self.whole.keys() - set(listed) - GIVEN.keys())
        for name in absent[:1]:
            node.pull(self.registry.ref(name))
            yield from (f"pulled anew: {line}" for line in self._files(node, [name]))
        if thorough:
            for image in node.images():
                node.remove(image)
            yield from self._no_leftovers(node, True)

    def _tags(self, tags, expected):
        for image, want in expected.items():
            found = tags.get(image, set())
            if lost := want.must - found:
                yield f"lost: {', '.join(sorted(lost))}"
            if risen := found - want.may:
                yield f"risen: {', '.join(sorted(risen))}"
        for image in tags.keys() - expected.keys():
            yield f"nobody's: {image} {sorted(tags[image])}"

    def _files(self, node, names):
        trees = node.trees([self.registry.ref(name) for name in names])
        self.images += len(names)
        for name in names:
            self.files += len(self.whole[name])
            wrong = differences(trees[self.registry.ref(name)], self.whole[name])
            if wrong:
                yield f"torn: {name}: {len(wrong)} of {len(self.whole[name])} files, as {wrong[0]}"

    def _no_leftovers(self, node, of_nothing):
        """What is removed in the background gets some seconds."""
        end = time.monotonic() + 5
        while (left := node.leftovers(of_nothing)) and time.monotonic() < end:
            time.sleep(0.05)
        if left:
            yield f"left behind: {', '.join(left[:5])}"


def spoil_largest(directory):
    """Zeroes a page in the middle of the largest file beneath the directory, if there is any."""
    files = [p for p in pathlib.Path(directory).rglob("*") if p.is_file() and not p.is_symlink()]
    if not files:
        return
    with open(max(files, key=lambda p: p.stat().st_size), "r+b") as f:
        f.seek(f.seek(0, os.SEEK_END) // 2 // 4096 * 4096)
        f.write(bytes(4096))
