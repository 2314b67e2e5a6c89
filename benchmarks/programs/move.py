"""Bring the staged directory of a run, with its large shared input, to one host, and nothing else.

Arguments: SSH_CONFIG HOST SWEEP. It is what the runners do before they start a run. Prints
{"seconds": …}, connecting included; what is in the input is known by then, as it is to a driver
that has just copied it.
"""

import asyncio
import json
import sys
import time
import uuid
from pathlib import Path

from multirun_core._staging.mirror import Mirror, Stores
from multirun_core._staging.mirror_pack import Parcel
from multirun_ssh.transports import way_to

ssh_config, host, sweep = sys.argv[1:]


async def main() -> None:
    """Bring it there."""
    stores = Stores()
    await stores.stored(Path(sweep) / "shared", 1)
    begun = time.perf_counter()
    transport = way_to(host, ssh_config=Path(ssh_config))()
    try:
        mirror = Mirror(transport, stores, place="", name=f"bench-{uuid.uuid4().hex}")
        await mirror.open()
        await mirror.send([Parcel(Path(sweep) / "runs" / "000000", "000000")])
        told = {"seconds": time.perf_counter() - begun}
        sys.stdout.write(json.dumps(told) + "\n")
        await transport.run(["rm", "-r", mirror.base], timeout=60)
    finally:
        await transport.close()


asyncio.run(main())
