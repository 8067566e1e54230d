"""The embedded broker's own process: `python -m balise.embedded_broker CONFIG_FILE`.

rumqttd has no shutdown of its own, so it gets a process that ends by a signal.
"""

from __future__ import annotations

import logging
import signal
import sys


def main(file: str) -> int:
    """Serves until killed; the exit status is for a broker that cannot start."""
    try:
        from iotcore.iotcore import IotCoreBroker
    except ImportError as error:
        print(
            f"the embedded broker is not installed ({error}): pip install 'balise[server]', "
            "or name a running one with --mqtt mqtt://HOST:PORT",
            file=sys.stderr,
        )
        return 2
    # rumqttd logs every packet as an error span; what matters comes as an exception.
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger("rumqttd").setLevel(logging.CRITICAL)
    # The broker's loop never comes back to Python, where a handler would run.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    try:
        broker = IotCoreBroker(config_path=file)
        broker.check_ports()
        broker.run_forever()
    except (OSError, ValueError, RuntimeError) as error:
        print(f"the embedded broker cannot run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
