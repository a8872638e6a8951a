"""Strangers' clients at a cluster that `feira up` runs: the suite beside this file, then schemathesis, once with each broker.

    python run.py --feira PATH [--folder FOLDER] [--quick] [--suite] [--schemathesis] [--examples N] [--seed N]

With neither --suite nor --schemathesis both are run; --quick: of both what takes less than a minute. What fails is shown, its cluster's folder is left, and the exit code is 1.
"""

import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import requests

HERE = pathlib.Path(__file__).resolve().parent
BROKERS = ["mosquitto", "embedded"]
# No description can say that a key was used for another request, that a name or an id is needed, or which cursors there are.
LEFT_OUT = "positive_data_acceptance"
PATIENCE_S = 120


class Market:
    """A cluster in a folder of its own, with two portals of shoppers."""

    def __init__(self, feira: str, broker: str, folder: pathlib.Path):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.feira, self.folder = feira, folder
        arguments = ["up", "--any-ports", "--broker", broker, "--client-portals", "2", "--json"]
        self.up = subprocess.Popen([feira, *arguments], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        # One line, when everything serves.
        said = self.up.stdout.readline()
        if not said:
            self.up.kill()
            raise SystemExit(f"feira up did not come up; its logs are in {folder}")
        parts = json.loads(said)["parts"]
        at = lambda beginning: [part["address"] for part in parts if part["part"].startswith(beginning)]
        self.staff, self.shops, (self.broker,) = at("admin-portal")[0], at("client-portal"), at("broker")

    def environment(self) -> dict[str, str]:
        told = {"STAFF": self.staff, "SHOPS": ",".join(self.shops), "BROKER": self.broker, "CLUSTER": "feira"}
        return {**os.environ, **{f"MARKET_{name}": value for name, value in told.items()}}

    def audit(self):
        """The books are right, at one position on every replica."""
        subprocess.run([self.feira, "audit", "--quiet"], cwd=self.folder, check=True, timeout=PATIENCE_S)

    def stop(self):
        self.up.send_signal(signal.SIGINT)
        ended = self.up.wait(PATIENCE_S)
        assert ended == 0, f"feira up ended with {ended}"


def tested(market: Market, only: str) -> bool:
    """The suite of the strangers' clients; of it these alone."""
    command = [sys.executable, "-B", "-m", "pytest", "-p", "no:cacheprovider", "--quiet", "--tb=short", str(HERE)]
    command += ["-k", only] if only else []
    print("$ pytest", *command[7:], flush=True)
    return subprocess.run(command, cwd=market.folder, env=market.environment()).returncode == 0


def known(market: Market) -> pathlib.Path:
    """A client, a product and an order of theirs, and a configuration by which schemathesis asks for them."""
    staff, shop = f"http://{market.staff}/v1", f"http://{market.shops[0]}/v1"
    for url, body in [
        (f"{staff}/clients", {"cid": "ana", "data": {"name": "Ana"}}),
        (f"{staff}/products", {"pid": "fig", "data": {"description": "Fig", "price": "1.50", "quantity": 1000}}),
        (f"{shop}/clients/ana/orders", {"lines": [{"pid": "fig", "quantity": 2}]}),
    ]:
        made = requests.post(url, json=body, timeout=30)
        made.raise_for_status()
    ids = {"cid": "ana", "pid": "fig", "oid": made.json()["oid"]}
    path = market.folder / "known.toml"
    path.write_text("[parameters]\n" + "".join(f'"path.{name}" = "{value}"\n' for name, value in ids.items()))
    return path


def conforms(market: Market, asked: argparse.Namespace) -> bool:
    """Both portals, as schemathesis reads their descriptions: with ids that it makes up, then with ids of what is there."""
    program = str(pathlib.Path(sys.executable).parent / "schemathesis")
    arguments = ["--max-examples", str(asked.examples), "--seed", str(asked.seed), "--exclude-checks", LEFT_OUT]
    arguments += ["--no-color", "--warnings", "off"]
    with_known = ["--config-file", str(known(market))]
    runs = [[], with_known]
    if asked.quick:
        # What it makes of the description alone, whatever the examples, takes a minute for the staff's portal.
        runs, arguments = [with_known], [*arguments, "--phases", "fuzzing,stateful"]
    ends = []
    for config in runs:
        for portal in [market.shops[0], market.staff]:
            command = [program, *config, "run", f"http://{portal}/openapi.json", *arguments]
            print("$", "schemathesis", *command[1:], flush=True)
            ends.append(subprocess.run(command, cwd=market.folder).returncode)
    return not any(ends)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--feira", required=True, help="the program")
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("strangers"), help="where the clusters are")
    parser.add_argument("--quick", action="store_true", help="less than a minute of both")
    parser.add_argument("--suite", action="store_true", help="only the suite")
    parser.add_argument("--schemathesis", action="store_true", help="only schemathesis")
    parser.add_argument("--examples", type=int, default=100, help="of schemathesis, for each operation")
    parser.add_argument("--seed", type=int, default=1, help="of schemathesis")
    asked = parser.parse_args()
    asked.examples = 3 if asked.quick else asked.examples
    is_all = not (asked.suite or asked.schemathesis)
    feira, folder = str(pathlib.Path(asked.feira).resolve()), asked.folder.resolve()
    is_right = True
    for broker in BROKERS:
        begun, of_broker = time.monotonic(), folder / broker
        print(f"== strangers' clients at feira up with the broker {broker}", flush=True)
        market = Market(feira, broker, of_broker)
        try:
            if asked.suite or is_all:
                # The second broker changes nothing of what does not go over it.
                is_right &= tested(market, "mqtt or repeats or sessions" if asked.quick and broker != BROKERS[0] else "")
            # The portals' HTTP has nothing to do with the broker: once is enough.
            if (asked.schemathesis or is_all) and broker == BROKERS[0]:
                is_right &= conforms(market, asked)
            market.audit()
        finally:
            market.stop()
        print(f"== {broker}: {time.monotonic() - begun:.1f} s", flush=True)
        if is_right:
            shutil.rmtree(of_broker)
        if asked.schemathesis:
            break
    return 0 if is_right else 1


if __name__ == "__main__":
    sys.exit(main())
