"""three_pods.py: the chart's stack as three pods and three Sentinels, from first start to rolling update.

usage: unshare --net --mount --pid --fork three_pods.py JSON-FILE        run by test_pods.py
Happy path: prints what happened, a line each, and ends with 0. Otherwise the assertion and the last words of all.
"""

import json
import sys
import threading
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "integration")]

from harness import parse_info, wait_for  # noqa: E402
from pods import Cluster  # noqa: E402
from resp_client import ReplyError, RespClient  # noqa: E402

PASSWORD = "a secret of 1 pod"


class Application:
    """Counts up through the Service: any pod that is ready, another one when its connection breaks."""

    def __init__(self, pods):
        self.pods, self.acknowledged, self.longest_pause, self.errors = pods, 0, 0.0, {}
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        client, last = None, time.monotonic()
        while not self.stopped.is_set():
            try:
                if client is None:
                    pod = next((pod for pod in self.pods if pod.ready()), None)
                    if pod is None:
                        time.sleep(0.1)
                        continue
                    client = connect(pod, 6377, timeout=5)
                client("RPUSH", "written", self.acknowledged + 1)
                self.acknowledged += 1
                self.longest_pause, last = max(self.longest_pause, time.monotonic() - last), time.monotonic()
                time.sleep(0.005)
            except (OSError, ReplyError, AssertionError) as error:
                text = str(error).split()[0] if str(error) else type(error).__name__
                self.errors[text] = self.errors.get(text, 0) + 1
                client = None
                time.sleep(0.1)

    def goes_on(self):
        before = self.acknowledged
        wait_for(lambda: self.acknowledged > before + 20, 60, "writes to go on")

    def stop(self):
        self.stopped.set()
        self.thread.join(30)


def connect(pod, port=6379, timeout=10):
    return RespClient(port, host=pod.address, password=PASSWORD, timeout=timeout)


def ask(pod, *command, port=6379):
    with connect(pod, port) as client:
        return client(*command)


def role(pod):
    return parse_info(ask(pod, "INFO", "replication"))["role"]


def say(text):
    print(f"{time.monotonic() - began:5.1f} s  {text}", flush=True)


def scenario(cluster):
    proxies = [pod for pod in cluster.pods if "-sentinel-" not in pod.name]
    sentinels = [pod for pod in cluster.pods if "-sentinel-" in pod.name]
    for pod in cluster.pods:
        pod.start()
    for pod in proxies:
        wait_for(pod.ready, 30, f"{pod.name} to be ready")
    assert [role(pod) for pod in proxies] == ["master", "slave", "slave"]
    say("three pods are ready, pod 0 leads")

    def known():
        fields = ask(sentinels[0], "SENTINEL", "MASTER", "primary", port=26379)
        fields = dict(zip(fields[::2], fields[1::2]))
        return (int(fields[b"num-slaves"]), int(fields[b"num-other-sentinels"]), fields[b"flags"]) == (2, 2, b"master")
    wait_for(known, 30, "the Sentinels to know two replicas and each other")
    for pod in proxies:
        assert ask(pod, "SET", "from", pod.name, port=6377) == "OK"
        assert ask(pod, "GET", "from", port=6377) == pod.name.encode()
    say("every pod takes writes and reads them back")

    cluster.name("rel-sidestream", proxies[1])
    [script] = [pod["spec"]["containers"][0]["command"] for pod in cluster.manifests if pod["kind"] == "Pod"]
    tested = proxies[2].container("node").execute(script)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    say("helm test succeeds")

    application = Application(proxies)
    application.goes_on()
    proxies[0].kill()
    say("pod 0 is gone")
    wait_for(lambda: "master" in [role(pod) for pod in proxies[1:]], 60, "a new primary")
    application.goes_on()
    leader = next(pod for pod in proxies[1:] if role(pod) == "master")
    say(f"{leader.name} leads, writes go on; pause {application.longest_pause:.1f} s, errors {application.errors}")

    proxies[0].start()
    wait_for(lambda: role(proxies[0]) == "slave" and proxies[0].ready(), 90, "pod 0 to follow")
    assert [role(pod) for pod in proxies].count("master") == 1
    say("pod 0 is back as a replica")

    follower = next(pod for pod in proxies[1:] if pod is not leader)
    codes = follower.delete()
    assert codes["sidestream"] == 0, codes
    follower.start()
    wait_for(follower.ready, 60, f"{follower.name} to be ready")
    application.goes_on()
    say(f"{follower.name} was drained and restarted: exit codes {codes}")
    application.stop()

    def same_everywhere():
        lists = [ask(pod, "LRANGE", "written", 0, -1, port=6378) for pod in proxies]
        return lists[0] == lists[1] == lists[2] and lists[0]
    values = [int(value) for value in wait_for(same_everywhere, 30, "equal data on all")]
    lost = set(range(1, application.acknowledged + 1)) - set(values)
    say(f"{application.acknowledged} writes acknowledged; {len(lost)} lost with the machine of the primary")


if __name__ == "__main__":
    began = time.monotonic()
    given = json.loads(Path(sys.argv[1]).read_text())
    secrets = {"redis-password": {"redis": PASSWORD}}
    cluster = Cluster(given["manifests"], Path(given["place"]), given["images"], secrets)
    try:
        scenario(cluster)
    except BaseException:
        for pod in cluster.pods:
            for container in pod.containers:
                if container.log.exists():
                    print(f"---- {pod.name}/{container.name}\n{container.last_words()}", file=sys.stderr)
        raise
    finally:
        cluster.stop()
