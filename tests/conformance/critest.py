#!/usr/bin/env python3
"""Runs critest, Kubernetes' validation of a CRI runtime, against a private berthd.

critest.py [CRITEST OPTION...]: all specs, and once more those of streaming over WebSocket; with options once, as they
say. Prints each spec that failed, each that was skipped with its reason, and last the line "N passed, N failed, N
skipped"; the exit status is 1 when a spec failed or none ran. The images that critest pulls come from tests/images/small,
through a registry on loopback that stands in for all others.
"""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "../integration"))
from daemon import CACHE, Daemon  # noqa: E402
from fixture import Registry  # noqa: E402

# Specs that are not run, and why. Everything else counts.
EXCUSED = [
    ("public image with digest should be pulled", "asks for the digest of an image that nobody can make again"),
    ("metrics", "pod metrics are not there yet"),
    ("NRI", "NRI is not there yet"),
    ("checkpoint", "checkpoints are not there yet"),
    ("benchmark", "measures, and validates nothing"),
]


def layout_images():
    with open(CACHE / "images/small/layout/index.json", encoding="utf-8") as f:
        return [m["annotations"]["org.opencontainers.image.ref.name"] for m in json.load(f)["manifests"]]


def name_of(spec):
    return " / ".join([*spec["ContainerHierarchyTexts"], spec["LeafNodeText"]])


def excuse(name):
    return next((why for part, why in EXCUSED if part in name), None)


# Streaming goes over SPDY unless critest is told otherwise.
WEBSOCKET = ["-ginkgo.focus=Streaming", "-websocket-exec", "-websocket-attach", "-websocket-portforward"]


def run(daemon, options):
    """The reports of the specs that were selected."""
    report = f"{daemon.files}/critest.json"
    endpoint = f"unix://{daemon.socket}"
    skip = "|".join(re.escape(part) for part, _ in EXCUSED)
    subprocess.run([CACHE / "clients/critest", f"-runtime-endpoint={endpoint}", f"-image-endpoint={endpoint}",
                    f"-ginkgo.skip={skip}", f"-ginkgo.json-report={report}", "-ginkgo.no-color", *options],
                   check=False, timeout=900)
    with open(report, encoding="utf-8") as f:
        return [s for suite in json.load(f) for s in suite["SpecReports"] if s["LeafNodeType"] == "It"]


def run_all(daemon, options):
    """(the specs, those over WebSocket)"""
    if options:
        return run(daemon, options), []
    return run(daemon, []), [s for s in run(daemon, WEBSOCKET) if s["State"] != "skipped"]


def validate(daemon, options):
    registry = Registry(f"{daemon.files}/registry", layout_images())
    try:
        hosts = f"{daemon.files}/certs.d"
        os.makedirs(f"{hosts}/_default")
        with open(f"{hosts}/_default/hosts.toml", "w", encoding="utf-8") as f:
            f.write(f'[host."http://{registry.address}"]\n  capabilities = ["pull", "resolve"]\n')
        with open(f"{daemon.files}/config.toml", "a", encoding="utf-8") as f:
            f.write(f'hosts_dirs = ["{hosts}"]\n')  # of [image], the last table
        daemon.start()
        return run_all(daemon, options)
    finally:
        daemon.crictl.call("rmp", "-a", "-f")
        registry.stop()


def main(options):
    daemon = Daemon()
    try:
        specs, over_websocket = validate(daemon, options)
    finally:
        left = daemon.destroy()
    passed, failed, skipped = [], left and ["left behind: " + ", ".join(left)], []
    named = [(name_of(s), s) for s in specs] + [(f"{name_of(s)} (over WebSocket)", s) for s in over_websocket]
    for name, spec in named:
        if spec["State"] == "passed":
            passed.append(name)
        elif spec["State"] == "skipped":
            why = excuse(name) or spec.get("Failure", {}).get("Message") or "not selected"
            skipped.append(f"{name}: {why}")
        else:
            failed.append(f"{name}: {spec['Failure']['Message'].splitlines()[0]}")
    print()
    for line in skipped:
        print("skipped:", line)
    for line in failed:
        print("failed:", line)
    if over_websocket:
        print(f"of streaming over WebSocket: {len([n for n in passed if n.endswith('(over WebSocket)')])} of {len(over_websocket)} passed")
    print(f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not passed else 0


sys.exit(main(sys.argv[1:]))
