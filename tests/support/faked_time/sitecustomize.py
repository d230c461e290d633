"""For processes under libfaketime: 0.9.10 makes an absolute `clock_nanosleep`, which `time.sleep` is, fail with EINVAL."""

import select
import time


def _sleep(seconds: float) -> None:
    select.select((), (), (), max(0.0, seconds))


time.sleep = _sleep
