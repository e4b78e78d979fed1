#!/usr/bin/env python3
"""fatjar.py OUT MAIN_CLASS DIR_OR_JAR...: one runnable jar of many. The first one that has an entry gives it.

Files by which jars make themselves known to each other are joined instead. The same input gives the same bytes.
"""
import os
import re
import sys
import zipfile

JOINED = re.compile(r"META-INF/(services/.+|spring\.(handlers|schemas|tooling))$")
DROPPED = re.compile(r"META-INF/(MANIFEST\.MF|INDEX\.LIST|versions/.*|maven/.*|[^/]+\.(SF|RSA|DSA))$|(.*/)?module-info\.class$")
# Spring 4 defines its generated classes through ClassLoader.defineClass, which Java 17 keeps shut.
MANIFEST = "Manifest-Version: 1.0\r\nMain-Class: {}\r\nAdd-Opens: java.base/java.lang\r\n\r\n"


def files_of(source):
    """(name, content) of every file in a directory or a jar."""
    if os.path.isdir(source):
        for base, dirs, files in os.walk(source):
            dirs.sort()
            for name in sorted(files):
                path = os.path.join(base, name)
                with open(path, "rb") as f:
                    yield os.path.relpath(path, source), f.read()
        return
    with zipfile.ZipFile(source) as jar:
        for info in jar.infolist():
            if not info.is_dir():
                yield info.filename, jar.read(info)


def merge(sources):
    merged = {}
    for source in sources:
        for name, content in files_of(source):
            if DROPPED.match(name):
                continue
            if JOINED.match(name):
                merged[name] = merged.get(name, b"") + content.rstrip(b"\n") + b"\n"
            else:
                merged.setdefault(name, content)
    return merged


def directories_of(names):
    """Spring finds a package's classes only through an entry of the package's directory."""
    found = set()
    for name in names:
        while name := os.path.dirname(name):
            found.add(name + "/")
    return found


def main(out, main_class, sources):
    merged = merge(sources)
    merged.update({name: b"" for name in directories_of(merged)})
    manifest = MANIFEST.format(main_class).encode()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as jar:
        for name, content in [("META-INF/MANIFEST.MF", manifest), *sorted(merged.items())]:
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            jar.writestr(info, content)


main(sys.argv[1], sys.argv[2], sys.argv[3:])
