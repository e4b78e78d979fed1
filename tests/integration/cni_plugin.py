#!/usr/bin/python3
"""A CNI plugin that does what a test says. It stands at the end of a chain and answers with the result that it was given; the
key "directory" of its configuration names the directory with

  orders   {"ADD": ORDER or [ORDER, …]}: for each command what to do, of a list one for each call, the last one for all that
           follow. What is not there is done as it should be. A file orders.POD is for the pod of that name, instead.
  calls    one JSON document for each call, appended"""
import json
import os
import signal
import subprocess
import sys
import time

# How long a plugin that hangs sleeps: tests find its processes by it.
FOREVER = "98765"


def take_order(directory, command, pod):
    path = f"{directory}/orders.{pod}"
    if not os.path.exists(path):
        path = f"{directory}/orders"
    try:
        with open(path, encoding="utf-8") as f:
            orders = json.load(f)
    except FileNotFoundError:
        return "ok"
    order = orders.get(command, "ok")
    if not isinstance(order, list):
        return order
    if len(order) > 1:
        orders[command] = order[1:]
        with open(f"{path}.new", "w", encoding="utf-8") as f:
            json.dump(orders, f)
        os.rename(f"{path}.new", path)
    return order[0]


def hang():
    """With children of every kind, all of which hold the pipes and none of which minds SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    subprocess.Popen(["sleep", FOREVER])
    subprocess.Popen(["setsid", "sleep", FOREVER])
    subprocess.run(["sh", "-c", f"setsid sleep {FOREVER} &"], check=True)
    time.sleep(float(FOREVER))


def main():
    config = json.load(sys.stdin)
    command = os.environ["CNI_COMMAND"]
    args = dict(part.split("=", 1) for part in os.environ.get("CNI_ARGS", "").split(";") if part)
    order = take_order(config["directory"], command, args.get("K8S_POD_NAME"))
    call = {"command": command, "container": os.environ.get("CNI_CONTAINERID"), "netns": os.environ.get("CNI_NETNS"),
            "order": order, "config": config}
    with open(f"{config['directory']}/calls", "a", encoding="utf-8") as f:
        f.write(json.dumps(call) + "\n")
    result = config.get("prevResult") or {"cniVersion": config["cniVersion"], "ips": [{"address": "10.250.0.2/24"}]}
    good = json.dumps(result) if command == "ADD" else ""

    if order == "hang":
        hang()
    elif order == "fail":
        print("it broke\nand said so", file=sys.stderr)
        sys.exit(1)
    elif order == "fail with an error":
        print(json.dumps({"cniVersion": config["cniVersion"], "code": 100, "msg": "no luck", "details": "none at all"}))
        sys.exit(1)
    elif order == "fail with a long error":
        print(json.dumps({"cniVersion": config["cniVersion"], "code": 100, "msg": "l" + "o" * 100000 + "ng", "details": "d" * 100000}))
        sys.exit(1)
    elif order == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif order == "print garbage":
        os.write(1, bytes(range(256)) * 4)
    elif order == "print nothing":
        pass
    elif order == "print 100 MB":
        for _ in range(100):
            os.write(1, b"x" * 1048576)
    elif order == "print wrong types":
        print(json.dumps({"cniVersion": 7, "ips": {"address": []}}))
    elif order == "print a list":
        print("[]")
    elif order == "print an address that is none":
        print(json.dumps({"cniVersion": config["cniVersion"], "ips": [{"address": "300.1.2.3/24"}]}))
    elif order == "print another version":
        print(json.dumps({**result, "cniVersion": "9.9.9"}))
    elif order == "fork a daemon":
        subprocess.Popen(["setsid", "sleep", FOREVER])
        print(good)
    elif order == "take a while":
        time.sleep(1.5)
        print(good)
    else:
        assert order == "ok", order
        if good:
            print(good)


main()
