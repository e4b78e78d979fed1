"""What a directory tree holds, as a value that can be compared: every name with type, mode, owner, times, attributes and
content."""
import hashlib
import os
import stat
import typing


class Entry(typing.NamedTuple):
    mode: str
    owner: tuple
    time: int        # of modification, in nanoseconds
    attributes: tuple
    size: int
    content: object  # the beginning of a file's digest, a link's target, a device's number


def _content(path, info):
    if stat.S_ISLNK(info.st_mode):
        return os.readlink(path)
    if not stat.S_ISREG(info.st_mode):
        return info.st_rdev
    with open(path, "rb", buffering=0) as f:
        return hashlib.file_digest(f, "sha256").hexdigest()[:16]


def _attributes(path):
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in sorted(os.listxattr(path, follow_symlinks=False)))


def _entry(path, directory_times):
    info = os.lstat(path)
    directory = stat.S_ISDIR(info.st_mode)
    return Entry(oct(info.st_mode), (info.st_uid, info.st_gid), 0 if directory and not directory_times else info.st_mtime_ns,
                 _attributes(path), 0 if directory else info.st_size, _content(path, info))


def _names(top, below=""):
    with os.scandir(os.path.join(top, below)) as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            name = os.path.join(below, entry.name)
            yield name
            if entry.is_dir(follow_symlinks=False):
                yield from _names(top, name)


def describe(top, directory_times=True):
    """Name -> Entry. A file that cannot be read has its error in place of one."""
    out = {}
    for name in _names(top):
        try:
            out[name] = _entry(os.path.join(top, name), directory_times)
        except OSError as error:
            out[name] = f"unreadable: {error.strerror}"
    return out


def _difference(name, got, want):
    if isinstance(got, str):
        return f"{name}: {got}"
    return f"{name}: " + ", ".join(f"{field} {a}, not {b}" for field, a, b in zip(Entry._fields, got, want) if a != b)


def differences(got, want):
    """A line for each name that is missing, too much or not the same."""
    lines = [f"{name}: missing" for name in sorted(want.keys() - got.keys())]
    lines += [f"{name}: nobody's" for name in sorted(got.keys() - want.keys())]
    return lines + [_difference(name, got[name], want[name]) for name in sorted(want.keys() & got.keys()) if got[name] != want[name]]
