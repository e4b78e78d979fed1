"""Findings that are known and open: they are counted and told, and fail no run. Whoever mends one takes its line away."""
import re

# The call, what each of its problems looks like, and why it is so.
OPEN = [
    ("start of the daemon", r"missing: file \S+/network/\S+\.json$",
     "a lease that cannot be read when the daemon starts is dropped, also that of a pod that runs; it could be made anew from the pod's record"),
]


def reason(call, problems):
    """None for what is not known."""
    return next((why for name, pattern, why in OPEN if name == call and problems and all(re.match(pattern, p) for p in problems)), None)
