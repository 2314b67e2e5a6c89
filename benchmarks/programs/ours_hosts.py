"""A sweep of short runs over SSH, as a user would write it.

Arguments: SSH_CONFIG COUNT FOLDER HOSTS INPUT PROGRAM …. HOSTS are separated by commas; INPUT is a
file that all runs share, or "".
"""

import sys

from multirun_core import FileResource, multirun

ssh_config, count, folder, hosts, shared, *cmd = sys.argv[1:]
multirun(
    runs=({"i": i, "x": i * 0.5, "name": f"run {i}"} for i in range(int(count))),
    cmd=cmd,
    output_path=folder,
    input_files=[FileResource(shared)] if shared else None,
    runner="ssh",
    runner_options={"ssh_config": ssh_config, "hosts": hosts},
    check=True,
)
