"""A test program's frame: runs the functions named test_* of a module in their order and prints each as GoogleTest does,
which is what tests/summarize counts.

A case gets one argument, the program's Fixture. It fails by any exception; Skip("why") skips it. What a case leaves with
fixture.cleanup(...) is undone after it, and then fixture.leaks() must be empty."""
import os
import shutil
import signal
import sys
import threading
import time
import traceback


class Skip(Exception):
    """The case cannot run here; the text says why."""


def need_root():
    if os.geteuid() != 0:
        raise Skip("needs root: containers are made of namespaces, mounts and cgroups")


def need_programs(*programs):
    missing = [p for p in programs if not shutil.which(p)]
    if missing:
        raise Skip("missing programs: " + ", ".join(missing))


def wait_for(what, condition, seconds=15.0, pause=0.05):
    """The condition's first true value; fails with `what` after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


def equal(got, want, what=""):
    assert got == want, f"{what or 'value'}: got {got!r}, want {want!r}"


def contains(text, part, what=""):
    assert part in text, f"{what or 'text'}: no {part!r} in {text!r}"


def side_by_side(**calls):
    """Makes all the calls at once, each in a thread, and fails with the names and errors of those that fail."""
    failed = []

    def run(name, call):
        try:
            call()
        except BaseException:
            failed.append(f"{name}: {traceback.format_exc()}")
    threads = [threading.Thread(target=run, args=item) for item in calls.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed, "\n".join(failed)


def _elapsed(started):
    return f"({int((time.monotonic() - started) * 1000)} ms)"


def _run_case(name, case, fixture):
    """Whether it did not fail."""
    print(f"[ RUN      ] {name}", flush=True)
    started, failed, skipped = time.monotonic(), False, None
    fixture.begin()
    try:
        case(fixture)
    except Skip as reason:
        skipped = reason
    except Exception:
        failed = True
        traceback.print_exc(file=sys.stdout)
    try:
        fixture.end()
    except Exception:
        failed = True
        traceback.print_exc(file=sys.stdout)
    if skipped and not failed:
        print(f"{name}: Skipped\n{skipped}\n[  SKIPPED ] {name} {_elapsed(started)}", flush=True)
    elif failed:
        print(f"{fixture.diagnosis()}\n[  FAILED  ] {name} {_elapsed(started)}", flush=True)
    else:
        print(f"[       OK ] {name} {_elapsed(started)}", flush=True)
    return not failed


def _interrupted(number, _frame):
    raise KeyboardInterrupt(f"signal {number}")


def main(module, make_fixture):
    """Ends the process: 0 if nothing failed. Arguments of the program select cases by a part of their names."""
    suite = os.path.basename(module.__file__).removesuffix(".py").removeprefix("test_")
    cases = [(n.removeprefix("test_"), f) for n, f in vars(module).items() if n.startswith("test_") and callable(f)]
    if len(sys.argv) > 1:
        cases = [c for c in cases if any(part in c[0] for part in sys.argv[1:])]
    signal.signal(signal.SIGTERM, _interrupted)
    print(f"[==========] Running {len(cases)} tests from 1 test suite.", flush=True)
    started, good = time.monotonic(), 0
    try:
        fixture = make_fixture()
    except Skip as reason:
        for name, _ in cases:
            print(f"[ RUN      ] {suite}.{name}\n{suite}: Skipped\n{reason}\n[  SKIPPED ] {suite}.{name} (0 ms)")
        good = len(cases)
    else:
        try:
            for name, case in cases:
                good += _run_case(f"{suite}.{name}", case, fixture)
        finally:
            left = fixture.close()
        if left:
            print("left behind at the end:\n  " + "\n  ".join(left))
            good = -1
    print(f"[==========] {len(cases)} tests from 1 test suite ran. {_elapsed(started)[:-1]} total)", flush=True)
    sys.exit(0 if cases and good == len(cases) else 1)
